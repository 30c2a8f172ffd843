"""How prompts are read: brackets, chunks, weights, places of textual inversion.

The judge is the A1111 web UI's behaviour, written down here once more in another shape than the worker's: the text is
first cut into marks by one expression, then weights are products over the brackets that enclose a mark. Two things
differ from the web UI on purpose, here and in the worker: a BREAK inside brackets breaks, and text without characters
leaves no trace.
"""

import json
import random
import re
from itertools import groupby
from pathlib import Path

HERE = Path(__file__).parent
MARK = re.compile(r"\\[()\[\]\\]|\\|:\s*([+-]?[.\d]+)\s*\)|[()\[\]:]|[^\\()\[\]:]+")
BREAK = re.compile(r"\s*\bBREAK\b\s*")
ROOM = 75
REACH = 20
EMBEDDINGS = {"house": 1, "red house": 2, "sun-style": 8, "wide": 75}

PROMPTS = [
    "",
    "   ",
    "a red house",
    "a (red) house",
    "a [red] house",
    "a (red:1.3) house",
    "a ((red)) [[house]] ([sun])",
    "a (red (house:1.5) sun:0.5), sky",
    "a (red:.5) (house:+2) (sun:-1) (sky:0) (sea:1.)",
    "a (red : 1.3 ) house",
    "a (red house",
    "a [red house",
    "a (red [house (sun",
    "a red) house] sun",
    "a (red] house) sun]",
    r"a \(red\) \[house\] \\ sun",
    r"a (red \(house\):1.2) sun",
    r"a \red \house\\(sun)",
    "a red: house",
    "a red:1.3) house",
    "a (red:house) sun",
    "a (red:1.3 house) sun",
    "a (red::1.3) house",
    "a (red:1:2) house",
    "()[](:1.3) a",
    "a (:1.3) red",
    "(a)(red)(house:1.1)",
    "(a:1)(red) house",
    "(((((((((a)))))))))",
    "[[[[[[[[[a]]]]]]]]]",
    "BREAK",
    "a BREAK red",
    "a BREAK",
    "BREAK a",
    "a BREAK BREAK red",
    "a\n\tBREAK\n red",
    "aBREAK BREAKa BREAK_ _BREAK 1BREAK",
    "a (red BREAK house:1.2) sun",
    "(a)BREAK(a)",
    "a break red",
    r"a BREA\K red",
    r"(a )BREAK( red:1)",
    "naïve (café:1.2), [Ελλάδα], 北京 🎈",
    "red, " * 40,
    "red house " * 50,
    "a (red house, " * 20,
    "red " * 74 + ", house",
    "red " * 75 + ", house",
    "red " * 55 + ", " + "sun " * 25,
    "red " * 54 + ", " + "sun " * 25,
    "red " * 70 + "BREAK " + "house " * 80,
    "red " * 60 + ", " + "(sun:1.4) " * 30,
    "a house in the sun",
    "a Red  HOUSE, a sun-style sky",
    "(a house:1.3) red (house)",
    "red " * 70 + "sun-style sky",
    "red " * 60 + ", a house, a sun-style sky, red house " + "sky " * 20,
    "wide",
    "a wide",
    "wide wide",
]


def fuzzed(count):
    chance = random.Random(4)
    words = ["a", "red", " ", " ", ",", "(", ")", "(", ")", "[", "]", ":", ":1.3)", ":0.7)", "\\", " BREAK ", "BREAK", "1"]
    return ["".join(chance.choices(words, k=chance.randint(4, 24))) for _ in range(count)]


def parse(prompt):
    """Lists of [text, weight], and None for a break."""
    parts, brackets = [], []  # a part is [text, factors]; a bracket is (kind, first part)

    def close(kind, factor):
        for index in reversed(range(len(brackets))):
            if brackets[index][0] == kind:
                for part in parts[brackets.pop(index)[1] :]:
                    part[1].append(factor)
                return True
        return False

    for found in MARK.finditer(prompt):
        mark, number = found[0], found[1]
        if mark in "([":
            brackets.append((mark, len(parts)))
        elif number and close("(", float(number)):
            pass
        elif mark == ")" and close("(", 1.1) or mark == "]" and close("[", 1 / 1.1):
            pass
        elif mark[0] == "\\":
            parts.append([mark[1:], []])
        else:
            for index, words in enumerate(BREAK.split(mark)):
                if index:
                    parts.append([None, []])
                parts.append([words, []])
    for kind in "([":
        while close(kind, 1.1 if kind == "(" else 1 / 1.1):
            pass

    def product(factors):
        weight = 1.0
        for factor in factors:
            weight *= factor
        return weight

    weighted = [(text, product(factors)) for text, factors in parts if text != ""]
    pieces = []
    for (is_break, weight), run in groupby(weighted, key=lambda part: (part[0] is None, part[0] is None or part[1])):
        run = list(run)
        pieces += [None] * len(run) if is_break else [["".join(text for text, _ in run), weight]]
    return pieces


def chunks(tokenizer, pieces):
    """For each chunk the ids and weights between start and end, and [position, name] of each embedding."""

    def ids_of(text):
        return tokenizer(text, add_special_tokens=False).input_ids

    names = sorted(((ids_of(name), name) for name in EMBEDDINGS), key=lambda entry: -len(entry[0]))
    comma = tokenizer.convert_tokens_to_ids(",</w>")
    # A slot is (id, weight, embedding name or None); each chunk is a list of slots.
    done, now, last_comma = [], [], None
    for piece in pieces:
        if piece is None:
            done.append(now)
            now, last_comma = [], None
            continue
        text, weight = piece
        ids, at = ids_of(text), 0
        while at < len(ids):
            if ids[at] == comma:
                last_comma = len(now)
            elif len(now) == ROOM and last_comma is not None and ROOM - last_comma <= REACH:
                done.append(now[: last_comma + 1])
                now, last_comma = now[last_comma + 1 :], None
            if len(now) == ROOM:
                done.append(now)
                now, last_comma = [], None
            known, name = next(((known, name) for known, name in names if ids[at : at + len(known)] == known), ([], None))
            if name is None:
                now.append((ids[at], weight, None))
                at += 1
                continue
            if len(now) + EMBEDDINGS[name] > ROOM:
                done.append(now)
                now, last_comma = [], None
            start = tokenizer.bos_token_id
            now += [(start, weight, name)] + [(start, weight, None)] * (EMBEDDINGS[name] - 1)
            at += len(known)
    if now or not done:
        done.append(now)
    return [
        {
            "ids": [slot[0] for slot in chunk],
            "weights": [[weight, len(list(run))] for weight, run in groupby(slot[1] for slot in chunk)],
            "injected": [[1 + place, slot[2]] for place, slot in enumerate(chunk) if slot[2]],
        }
        for chunk in done
    ]


def prompts(tokenizer):
    listed = []
    for prompt in PROMPTS + fuzzed(40):
        pieces = parse(prompt)
        listed.append({"prompt": prompt, "pieces": pieces, "chunks": chunks(tokenizer, pieces)})
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in listed)
    text = '{"embeddings": ' + json.dumps(EMBEDDINGS) + ', "cases": [\n' + lines + "\n]}\n"
    (HERE / "prompts.json").write_text(text)
    print(len(listed), "prompts")
