"""The wheel, installed without the checkout, includes its configuration and templates."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_installed_wheel_finds_its_configuration(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist")]
    subprocess.run([*build, str(CHECKOUT)], check=True, capture_output=True, text=True, timeout=120)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    (site,) = environment.glob("lib/python*/site-packages")
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True, text=True, timeout=120)
    # the dependencies of this environment, without its editable bert_ft: a path file within a folder
    # that itself came in by a path file isn't read
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    python = environment / "bin/python"
    without_checkout = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*arguments):
        return subprocess.run(
            [python, *arguments],
            cwd=elsewhere,
            env=without_checkout,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout

    assert run("-c", "import bert_ft; print(bert_ft.__file__)").startswith(str(site))
    assert "name_or_path: embedded/all-MiniLM-L6-v2" in run("-m", "bert_ft.train", "--cfg", "job")
    script = run(site / "bin/bert_ft", "report", "--cfg", "job")
    assert script == run("-m", "bert_ft.report", "--cfg", "job")
    for name in ("py.typed", "reporting/report.html.j2"):
        assert (site / "bert_ft" / name).is_file()
    shipped = {str(path.relative_to(site / "bert_ft/conf")) for path in site.glob("bert_ft/conf/**/*.yaml")}
    assert shipped == {str(path.relative_to(CHECKOUT / "conf")) for path in CHECKOUT.glob("conf/**/*.yaml")}
