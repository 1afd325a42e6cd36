"""Reference values of the tests of `labels`: Dawid-Skene posteriors, agreement, inconsistency.

Run with: python labels_reference.py [tabulatedVotes.csv of CREMA-D]
Needs NumPy. Nothing here shares code with the crate.
"""

import csv
import sys

import numpy as np


def dawid_skene(ballots, n_classes, n_annotators, pseudo=0.01, rounds=200, tolerance=1e-6):
    post = np.zeros((len(ballots), n_classes))
    for i, votes in enumerate(ballots):
        for _, c in votes:
            post[i, c] += 1
    post /= post.sum(1, keepdims=True)
    for _ in range(rounds):
        prior = post.mean(0)
        confusion = np.full((n_annotators, n_classes, n_classes), pseudo)
        for i, votes in enumerate(ballots):
            for a, c in votes:
                confusion[a, :, c] += post[i]
        confusion /= confusion.sum(2, keepdims=True)
        new = np.tile(prior, (len(ballots), 1))
        for i, votes in enumerate(ballots):
            for a, c in votes:
                new[i] *= confusion[a, :, c]
        new /= new.sum(1, keepdims=True)
        moved = np.abs(new - post).max()
        post = new
        if moved <= tolerance:
            break
    return post


def kappa_alpha(counts):
    counts = np.asarray(counts, float)
    n = counts.sum(1)
    counts, n = counts[n >= 2], n[n >= 2]
    agree = (counts * (counts - 1)).sum(1) / (n * (n - 1))
    p = counts.sum(0) / counts.sum()
    kappa = (agree.mean() - (p**2).sum()) / (1 - (p**2).sum())
    # alpha through the coincidence matrix
    coincidence = sum(
        (np.outer(row, row) - np.diag(row)) / (m - 1) for row, m in zip(counts, n)
    )
    totals, total = coincidence.sum(0), coincidence.sum()
    observed = total - np.trace(coincidence)
    expected = (total**2 - (totals**2).sum()) / (total - 1)
    return agree.mean(), kappa, 1 - observed / expected


def one_against_rest(counts, c):
    counts = np.asarray(counts)
    return np.stack([counts[:, c], counts.sum(1) - counts[:, c]], 1)


TABLE = [
    [(0, 0), (1, 0), (2, 1)],
    [(0, 1), (1, 1), (2, 1)],
    [(0, 2), (1, 0), (2, 2)],
    [(0, 0), (1, 1)],
    [(1, 2), (2, 2)],
    [(0, 0), (1, 0), (2, 0)],
]


def cremad(path):
    names = "ADFHNS"
    blocks = {"1": "audio", "2": "vision", "3": "multimodal"}
    votes = {head: {} for head in blocks.values()}
    with open(path, newline="") as f:
        for row in csv.DictReader(f):
            counts = [int(row[c]) for c in names]
            votes[blocks[row[""][0]]][row["fileName"]] = counts
    for rule, threshold in [("lead", 0.0), ("majority", 0.5)]:
        labels = {}
        for head, rows in votes.items():
            for name, counts in rows.items():
                counts = np.array(counts)
                best = counts.max()
                if (counts == best).sum() == 1 and best / counts.sum() > threshold:
                    labels.setdefault(name, {})[head] = int(counts.argmax())
        print(rule, {h: sum(h in l for l in labels.values()) for h in votes})
        for a, b in [("audio", "vision"), ("audio", "multimodal"), ("vision", "multimodal")]:
            both = [(l[a], l[b]) for l in labels.values() if a in l and b in l]
            print(" Incon", a, b, len(both), np.mean([x != y for x, y in both]))
        for head in ["audio", "vision"]:
            for c, name in enumerate(names):
                of = [l[head] for l in labels.values() if l.get("multimodal") == c and head in l]
                print(" Incon", head, name, len(of), np.mean([x != c for x in of]))
    for head, rows in votes.items():
        table = list(rows.values())
        print(head, len(table), int(np.sum(table)), *kappa_alpha(table))
        for c, name in enumerate(names):
            print("  ", name, *kappa_alpha(one_against_rest(table, c))[1:])


if __name__ == "__main__":
    np.set_printoptions(precision=17)
    print(repr(dawid_skene(TABLE, 3, 3)))
    if len(sys.argv) > 1:
        cremad(sys.argv[1])
