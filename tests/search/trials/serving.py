"""Jobs of a fork server, in a process without threads; prints what was seen of them as JSON."""

import json
import os
import signal
import subprocess
import sys
import time

from bert_ft.search.trials.fork_server import Ended, ForkServer, Message

loaded: list[str] = []


def prepare(send) -> None:
    loaded.append("loaded")
    send({"ready": os.getpid()})


def run(content: dict, send) -> None:
    send({"pid": os.getpid(), "loaded": loaded, "parent": os.getppid()})
    loaded.append(content["do"])
    match content["do"]:
        case "raise":
            raise RuntimeError("raised")
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "tell":
            send({"reason": "𝄞" * 899 + "\ud800"})
        case "sleep":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            send({"child": child.pid})
            time.sleep(60)
    send({"done": content["do"]})


def collect(server: ForkServer, until) -> tuple[dict, dict]:
    """Messages by job, and exit codes by job."""
    said: dict = {}
    ended: dict = {}
    while not until(said, ended):
        for event in server.wait(5.0):
            if isinstance(event, Message):
                said.setdefault(event.job, {}).update(event.content)
            else:
                assert isinstance(event, Ended)
                ended[event.job] = event.code
    return said, ended


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def outlives(pid: int) -> bool:
    """Whether the process is still there after ten seconds: one that is killed needs a moment to be gone."""
    ends_at = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < ends_at:
        time.sleep(0.02)
    return is_alive(pid)


def main() -> None:
    found: dict = {}
    server = ForkServer(prepare, run)
    server.start()
    for job, do in enumerate(["finish", "raise", "crash", "tell"]):
        server.submit(job, {"do": do})
    found["first"] = collect(server, lambda said, ended: len(ended) == 4)

    server.submit(10, {"do": "sleep"})
    said, _ = collect(server, lambda said, ended: "child" in said.get(10, {}))
    server.kill(10)
    _, ended = collect(server, lambda said, ended: ended)
    found["killed"] = ended, outlives(said[10]["pid"]), outlives(said[10]["child"])

    server.submit(20, {"do": "sleep"})
    said, _ = collect(server, lambda said, ended: "child" in said.get(20, {}))
    os.kill(said[20]["parent"], signal.SIGKILL)
    _, ended = collect(server, lambda said, ended: ended)
    found["server killed"] = ended, outlives(said[20]["pid"])
    os.kill(said[20]["child"], signal.SIGKILL)  # nobody was left to do it
    server.submit(21, {"do": "finish"})
    found["after"] = collect(server, lambda said, ended: 21 in ended)

    server.submit(30, {"do": "sleep"})
    said, _ = collect(server, lambda said, ended: "child" in said.get(30, {}))
    server.stop()
    found["stopped"] = outlives(said[30]["pid"]), outlives(said[30]["parent"])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
