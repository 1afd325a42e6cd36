"""What the PyTorch peers have in common: a process that times what it is told to.

Reads one request per line, `train N`, `infer N` or `one N`, and answers with N times in seconds as a JSON list.
`peak` answers with the most memory that the process ever held, `parameters` with their number.
"""
import argparse
import json
import resource
import sys
import time

import torch
from torch.nn import functional as F

CLASSES = 7
# Widths of text, audio and vision in the LFMIM paper, which `trimer bench` takes for every model.
PAPER_DIMS = (768, 768, 512)


def serve(doc, presets, build):
    """`build(preset, keep)` gives a model, the widths and lengths of its inputs and its number of heads. Every
    dropout is to be multiplied by `keep`. The model takes a list of inputs and gives a list of logits."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=presets, default=presets[0])
    parser.add_argument("--mode", choices=("eager", "compile"), default="eager")
    parser.add_argument("--no-dropout", action="store_true")
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    model, dims, lengths, heads = build(args.preset, 0.0 if args.no_dropout else 1.0)
    model = model.to(args.device)
    run = torch.compile(model) if args.mode == "compile" else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.005)
    inputs = [torch.randn(args.batch, t, d, device=args.device) for t, d in zip(lengths, dims)]
    labels = [torch.randint(CLASSES, (args.batch,), device=args.device) for _ in range(heads)]
    one = [x[:1] for x in inputs]

    def train():
        model.train()
        optimizer.zero_grad()
        loss = sum(F.cross_entropy(o, y) for o, y in zip(run(inputs), labels))
        loss.backward()
        optimizer.step()

    def infer(x):
        model.eval()
        with torch.no_grad():
            run(x)

    sync = torch.cuda.synchronize if args.device.startswith("cuda") else lambda: None
    answer_requests(model, {"train": train, "infer": lambda: infer(inputs), "one": lambda: infer(one)}, sync)


def answer_requests(model, work, sync=lambda: None, **facts):
    """Answers until there are no more requests; `facts` are named answers beside the two that every worker has."""
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
