"""The two engines as processes: cases in, answers out."""

import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import threading

HERE = pathlib.Path(__file__).parent
# Cases a file of `tresor policy check` holds.
FILE = 4000


class Simulator:
    """A long-lived child, one case a line."""

    def __init__(self, place):
        """`place`: a folder outside of the source tree that the package is installed into."""
        place.mkdir(parents=True, exist_ok=True)
        lock = HERE / "package-lock.json"
        installed = place / "installed.json"
        if not installed.exists() or installed.read_bytes() != lock.read_bytes():
            shutil.copy(HERE / "package.json", place)
            shutil.copy(lock, place)
            subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=place, check=True)
            shutil.copy(lock, installed)
        # Modules are looked up from where the script lies.
        script = shutil.copy(HERE / "simulate.mjs", place)
        self.child = subprocess.Popen(["node", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def answers(self, cases):
        """Each case's answer, in order."""

        def feed():
            for case in cases:
                self.child.stdin.write(json.dumps(case) + "\n")
            self.child.stdin.flush()

        feeder = threading.Thread(target=feed)
        feeder.start()
        answers = [json.loads(self.child.stdout.readline()) for _ in cases]
        feeder.join()
        return answers

    def end(self):
        self.child.stdin.close()
        self.child.wait(timeout=60)


def tresor(binary, cases, expected):
    """What Tresor answers to each case: `allow`, `explicit_deny`, `implicit_deny`, or why it could not be asked."""
    answers = list(expected)
    with tempfile.TemporaryDirectory() as folder:
        for start in range(0, len(cases), FILE):
            chunk = cases[start : start + FILE]
            file = pathlib.Path(folder) / "cases.json"
            # By number: two cases may have one name.
            asked = [{**case, "id": str(start + n), "expect": expected[start + n]} for n, case in enumerate(chunk)]
            file.write_text(json.dumps(asked))
            done = subprocess.run([binary, "policy", "check", str(file)], capture_output=True, text=True, timeout=600)
            *failures, total = done.stdout.splitlines() or [""]
            counted = re.fullmatch(r"(\d+) passed, (\d+) failed", total)
            if not counted or sum(map(int, counted.groups())) != len(chunk) or int(counted[2]) != len(failures):
                raise SystemExit(f"tresor policy check did not judge every case: {done.stdout[-500:]}{done.stderr}")
            for line in failures:
                number, _, wrong = line.partition(": ")
                got = re.match(r"expected \w+, got (allow|explicit_deny|implicit_deny) ", wrong)
                answers[int(number)] = got[1] if got else wrong
    return answers
