"""Compares Tresor's decisions with the simulator's on random cases: `make policy-differential`. Exits with 1 when a difference is left
that no rule explains, or when a rule's example no longer shows what it says."""

import argparse
import collections
import itertools
import json
import os
import pathlib
import subprocess
import sys

import document
from engines import Simulator, tresor
from generate import cases
from rules import RULES

ROOT = pathlib.Path(__file__).parent.parent.parent
# Rules that may have to come together for one difference.
MOST = 3


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seed", action="append", type=int, help="may stand several times; 1 and 2 otherwise")
    arguments.add_argument("--cases", type=int, default=20_000, help="of each seed")
    arguments.add_argument("--write", action="store_true", help="writes docs/policy-differences.md")
    arguments.add_argument("--show", type=int, default=3, help="how many unexplained differences are printed")
    asked = arguments.parse_args()
    binary = os.environ["TRESOR_BIN"]
    place = pathlib.Path(os.environ["TRESOR_CACHE"]) / "policy-differential"
    simulator = Simulator(place)
    try:
        wrong = examples(simulator, binary)
        runs = [run(simulator, binary, seed, asked.cases) for seed in asked.seed or [1, 2]]
    finally:
        simulator.end()
    for result in runs:
        tell(result, asked.show)
    if wrong or any(result["unexplained"] for result in runs):
        sys.exit(1)
    if asked.write:
        version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
        text = document.text(runs, version, json.loads((place / "package-lock.json").read_text()))
        (ROOT / "docs/policy-differences.md").write_text(text)


def examples(simulator, binary):
    """The rules whose example does not show the difference, or is not explained by it."""
    all_of = [rule.example["case"] for rule in RULES]
    said = [answer["kind"] for answer in simulator.answers(all_of)]
    got = tresor(binary, all_of, said)
    wrong = []
    for rule, theirs, ours in zip(RULES, said, got):
        wanted = (rule.example["simulator"], rule.example["tresor"])
        if (theirs, ours) != wanted:
            wrong.append(rule.name)
            print(f"the example of {rule.name}: the simulator says {theirs}, Tresor {ours}; expected {wanted}")
    left = explain(binary, [(case, theirs) for case, theirs in zip(all_of, said)])
    for rule, names in zip(RULES, left):
        if names != (rule.name,):
            wrong.append(rule.name)
            print(f"the example of {rule.name} is explained by {names}")
    return wrong


def run(simulator, binary, seed, count):
    drawn = list(cases(seed, count))
    answers = simulator.answers(drawn)
    for case, answer in zip(drawn, answers):
        # What the simulator does not judge is not compared, and must not be counted as if it had been.
        if answer["kind"] == "error" or answer["ignored"]:
            raise SystemExit(f"the simulator cannot judge {case['id']}: {answer}\n{json.dumps(case)}")
    said = [answer["kind"] for answer in answers]
    got = tresor(binary, drawn, said)
    different = [(case, theirs, ours) for case, theirs, ours in zip(drawn, said, got) if theirs != ours]
    names = explain(binary, [(case, theirs) for case, theirs, _ in different])
    return {
        "seed": seed,
        "count": count,
        "said": collections.Counter(said),
        "got": collections.Counter(got),
        "different": len(different),
        "explained": collections.Counter(found for found in names if found),
        "unexplained": [each for each, found in zip(different, names) if not found],
    }


def explain(binary, different):
    """For each case with the simulator's answer: the fewest rules under which Tresor gives the same, or nothing."""
    found = [None] * len(different)
    for size in range(1, MOST + 1):
        asked = []
        for index, (case, theirs) in enumerate(different):
            if found[index] is None:
                asked += [(index, together, theirs, *built) for together, built in rewritten(case, size)]
        # Every case and every probe in one go.
        batch = [(case, wanted) for *_, case, probes, _ in asked for case, wanted in [(case, "allow"), *probes]]
        got = iter(tresor(binary, [case for case, _ in batch], [wanted for _, wanted in batch]))
        for index, together, theirs, _, probes, answer in asked:
            ours = next(got)
            held = [next(got) == wanted for _, wanted in probes]
            if found[index] is None and answer(ours) == theirs and all(held):
                found[index] = tuple(rule.name for rule in together)
    return found


def rewritten(case, size):
    """The case under each set of so many rules that all have a say in it, in the order of the rules."""
    for together in itertools.combinations(RULES, size):
        now, probes, answers = case, [], []
        for rule in together:
            built = rule.rewrite(now)
            if built is None:
                break
            now, more = built
            probes += more
            answers += [rule.answer] if rule.answer else []
        else:
            yield together, (now, probes, lambda ours, answers=answers: answers[0].get(ours) if answers else ours)


def tell(result, show):
    share = lambda counts: ", ".join(f"{name} {100 * n / result['count']:.1f} %" for name, n in counts.most_common())
    print(f"seed {result['seed']}: {result['count']} pairs; Tresor: {share(result['got'])}")
    print(f"  {result['different']} differ, {len(result['unexplained'])} of them unexplained")
    for names, count in result["explained"].most_common():
        print(f"  {count:6} {' + '.join(names)}")
    for case, theirs, ours in result["unexplained"][:show]:
        print(f"  unexplained: the simulator says {theirs}, Tresor {ours}\n{json.dumps(case)}")


if __name__ == "__main__":
    main()
