"""What the PyTorch peers have in common: a process that times what it is told to.

Reads one request per line, `train N`, `infer N` or `one N`, and answers with N times in seconds as
a JSON list. `peak` answers with the most memory that the process ever held, `parameters` with
their number.
"""
from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 7
# Widths of text, audio and vision in the LFMIM paper, which `trimer bench` takes for every model.
PAPER_DIMS = (768, 768, 512)

Build = Callable[[str, float], tuple[nn.Module, Sequence[int], Sequence[int], int]]
Work = dict[str, Callable[[], None]]


def worker_parser(doc: str | None, modes: Sequence[str], batch: int) -> argparse.ArgumentParser:
    """The flags that every worker has."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mode", choices=modes, default=modes[0])
    parser.add_argument("--no-dropout", action="store_true")
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--threads", type=int, default=2)
    return parser


def prepare(args: argparse.Namespace) -> float:
    """Fixes the seed and the number of threads; what every dropout is to be multiplied by."""
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    return 0.0 if args.no_dropout else 1.0


def serve(doc: str | None, presets: Sequence[str], build: Build) -> None:
    """Answers for a model of utterances.

    `build(preset, keep)` gives a model, the widths and lengths of its inputs and its number of
    heads. Every dropout is to be multiplied by `keep`. The model takes a list of inputs,
    [utterance, time, feature] each, and gives a list of logits, [utterance, class] each.
    """
    parser = worker_parser(doc, ("eager", "compile"), batch=24)
    parser.add_argument("--preset", choices=presets, default=presets[0])
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    model, dims, lengths, heads = build(args.preset, prepare(args))
    model = model.to(args.device)
    run: Callable[[list[Tensor]], list[Tensor]]
    run = torch.compile(model) if args.mode == "compile" else model
    inputs = [torch.randn(args.batch, t, d, device=args.device) for t, d in zip(lengths, dims)]
    labels = [torch.randint(CLASSES, (args.batch,), device=args.device) for _ in range(heads)]
    one = [x[:1] for x in inputs]

    def loss() -> Tensor:
        return sum(F.cross_entropy(o, y) for o, y in zip(run(inputs), labels))

    sync = torch.cuda.synchronize if args.device.startswith("cuda") else lambda: None
    work = steps(model, loss, lambda: run(inputs), lambda: run(one))
    answer_requests(model, work, sync)


def steps(
    model: nn.Module,
    loss: Callable[[], Tensor],
    infer: Callable[[], object],
    one: Callable[[], object],
) -> Work:
    """What can be asked for: a step of training, a batch, and one utterance or conversation."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.005)

    def train() -> None:
        model.train()
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    def without_gradients(answer: Callable[[], object]) -> Callable[[], None]:
        def work() -> None:
            model.eval()
            with torch.no_grad():
                answer()

        return work

    return {"train": train, "infer": without_gradients(infer), "one": without_gradients(one)}


def answer_requests(
    model: nn.Module, work: Work, sync: Callable[[], None] = lambda: None, **facts: Any
) -> None:
    """Answers until there are no more requests; `facts` are more answers, by name."""
    facts["parameters"] = sum(x.numel() for x in model.parameters())
    for line in sys.stdin:
        name, *count = line.split()
        if name == "peak":
            answer = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        elif name in facts:
            answer = facts[name]
        else:
            answer = []
            for _ in range(int(count[0])):
                sync()
                start = time.perf_counter()
                work[name]()
                sync()
                answer.append(time.perf_counter() - start)
        print(json.dumps(answer), flush=True)
