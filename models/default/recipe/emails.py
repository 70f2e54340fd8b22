#!/usr/bin/env python3
"""Writes everyday business e-mails, memos, minutes and notes from a hand-written grammar.

Public-domain collections hold almost no ordinary office mail, so this script makes some.
Text and grammar are our own and dedicated to the public domain (CC0 1.0). People, firms
and products are invented; names are common ones put together by chance.

    python emails.py OUT.txt [--documents 27000] [--seed 1]

Notation:  [a|b|c] picks one part, {slot} expands a rule, {slot1} expands it once per
document and repeats the same words afterwards, an empty alternative leaves the part out.
"""
import argparse
import random
import re

import emails_grammar as grammar

INNERMOST = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\{([a-z_]+)(\d*)\}")


class Writer:
    """Expands rules; remembers numbered slots so that one document stays consistent."""

    def __init__(self, rng):
        self.rng = rng
        self.memory = {}

    def rule(self, name):
        return self.expand(self.rng.choice(grammar.RULES[name]))

    def slot(self, match):
        name, number = match.groups()
        if name == "num":
            return self.number()
        if not number:
            return self.rule(name)
        key = name + number
        if key not in self.memory:
            taken = {v for k, v in self.memory.items() if SLOT.fullmatch("{" + k + "}").group(1) == name}
            value = self.rule(name)
            for _ in range(8):  # two numbered slots of one rule should differ
                if value not in taken:
                    break
                value = self.rule(name)
            self.memory[key] = value
        return self.memory[key]

    def number(self):
        return str(self.rng.choice([self.rng.randint(2, 12), self.rng.randint(13, 60), 5 * self.rng.randint(3, 40)]))

    def choose(self, match):
        return self.rng.choice(match.group(1).split("|"))

    def expand(self, text):
        # Choices first, innermost outwards, so that slots in the discarded branches are never filled.
        while INNERMOST.search(text):
            text = INNERMOST.sub(self.choose, text)
        while SLOT.search(text):
            text = SLOT.sub(self.slot, text)
            while INNERMOST.search(text):
                text = INNERMOST.sub(self.choose, text)
        return text


def tidy(text):
    """Repairs the seams left by empty alternatives: spaces, capitals, a before a vowel."""
    text = re.sub(r" +", " ", text)
    text = re.sub(r" +([.,;:?!])", r"\1", text)
    text = re.sub(r"\b([Aa]) (?=[aeiouAEIO])(?!one|uni|use|usu|eu)", r"\1n ", text)
    text = re.sub(r"(^|[.?!] |\n)([a-z])", lambda m: m.group(1) + m.group(2).upper(), text)
    # "a.m." and "p.m." end no sentence when a small word follows.
    text = re.sub(r"([ap]\.m\.) (On|And|In|To|For|At|With|From|Until|Or|So|If|Because|About|Between|Or|Instead|Unless|After|Before|As|Since)\b", lambda m: m.group(1) + " " + m.group(2).lower(), text)
    text = text.replace("p.m..", "p.m.").replace("a.m..", "a.m.")
    return text.strip()


def paragraphs(rng, sentences):
    """Groups sentences into paragraphs of one to three."""
    out, i = [], 0
    while i < len(sentences):
        n = rng.choice([1, 1, 2, 2, 3])
        out.append(" ".join(sentences[i:i + n]))
        i += n
    return out


def topic_sentences(rng, w, topic, low, high):
    """Opening, middle (without repeats, in random order) and request of one topic."""
    parts = grammar.TOPICS[topic]
    middle = rng.sample(parts["body"], min(len(parts["body"]), rng.randint(low, high)))
    out = [rng.choice(parts["open"])] + middle
    if rng.random() < 0.8:
        out.append(rng.choice(parts["ask"]))
    return [w.expand(s) for s in out]


def email(rng):
    w = Writer(rng)
    topic = rng.choice(list(grammar.TOPICS))
    lines = []
    if rng.random() < 0.5:
        lines.append("Subject: " + w.expand(rng.choice(grammar.TOPICS[topic]["subject"])))
    lines.append(w.rule("greeting"))
    body = topic_sentences(rng, w, topic, 1, 4)
    if rng.random() < 0.45:
        body.insert(0, w.rule("pleasantry"))
    if rng.random() < 0.2:
        body.insert(rng.randint(1, len(body)), w.rule("aside"))
    if rng.random() < 0.7:
        body.append(w.rule("wrapup"))
    lines += paragraphs(rng, body)
    if rng.random() < 0.85:
        lines.append(w.rule("signoff"))
    return lines


def short_reply(rng):
    w = Writer(rng)
    lines = [w.rule("greeting")] if rng.random() < 0.5 else []
    body = [w.rule("reply")]
    body += [w.rule(r) for r in ("reply_detail", "wrapup") if rng.random() < 0.6]
    lines.append(" ".join(body))
    if rng.random() < 0.6:
        lines.append(w.rule("signoff"))
    return lines


def minutes(rng):
    w = Writer(rng)
    lines = [w.rule("minutes_title")]
    if rng.random() < 0.6:
        lines.append(w.rule("attendance"))
    lines += paragraphs(rng, [w.rule("minute") for _ in range(rng.randint(3, 7))])
    lines.append(w.expand("[Action items|Actions|Next steps|Follow-up items]:"))
    lines.append("\n".join("- " + w.rule("action") for _ in range(rng.randint(2, 5))))
    if rng.random() < 0.5:
        lines.append(w.rule("next_meeting"))
    return lines


def document(rng, title, sentence, low, high):
    """A memo, report or notice: a title and running prose."""
    w = Writer(rng)
    lines = [w.rule(title)]
    rules = grammar.RULES[sentence]
    picked = rng.sample(rules, min(len(rules), rng.randint(low, high)))
    return lines + paragraphs(rng, [w.expand(s) for s in picked])


def one(rng):
    kind = rng.random()
    if kind < 0.62:
        return email(rng)
    if kind < 0.71:
        return short_reply(rng)
    if kind < 0.80:
        return minutes(rng)
    if kind < 0.88:
        return document(rng, "report_title", "report", 4, 8)
    if kind < 0.93:
        return document(rng, "memo_title", "memo", 3, 7)
    if kind < 0.98:
        return document(rng, "paper_title", "paper", 3, 8)
    return document(rng, "review_title", "review", 3, 6)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("out")
    p.add_argument("--documents", type=int, default=27000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--avoid", help="drop documents that hold a line of this file word for word")
    a = p.parse_args()
    avoid = open(a.avoid, encoding="utf8").read().splitlines() if a.avoid else []
    rng = random.Random(a.seed)
    with open(a.out, "w", encoding="utf8") as f:
        for _ in range(a.documents):
            text = "\n\n".join(tidy(line) for line in one(rng))
            if not any(line in text for line in avoid):  # the sample prompts stay unseen
                f.write(text + "\n<|endoftext|>\n")


if __name__ == "__main__":
    main()
