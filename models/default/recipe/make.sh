#!/bin/sh
# Makes the default model from the corpus: sh make.sh CORPUS [WORK]
# CORPUS holds business.txt, books.txt, valid.txt and prompts.txt (see SOURCES.md).
# Training ends at the time of day DEADLINE; set DECAY and DEADLINE (HH:MM) to suit.
set -eu
corpus=$(realpath "$1")
work=$(realpath -m "${2:-work}")
here=$(dirname "$(realpath "$0")")
mkdir -p "$work/data" "$work/run"

python "$here/emails.py" "$work/emails.txt" --avoid "$corpus/prompts.txt"
python "$here/prepare.py" "$corpus" "$work/data" --emails "$work/emails.txt"

# Waiting OpenMP threads must sleep, not spin: on a busy machine spinning is ten times slower.
OMP_WAIT_POLICY=passive DATA="$work/data" RUN="$work/run" nice -n 19 python "$here/train.py"

python "$here/export.py" "$work/run/checkpoint.pt" "$work/data/tok.model" "$work/inshore-default-q8_0.gguf"
python "$here/export.py" "$work/run/checkpoint.pt" "$work/data/tok.model" "$work/inshore-default-f32.gguf" --type f32
python "$here/evaluate.py" "$work/inshore-default-f32.gguf" "$work/inshore-default-q8_0.gguf" --valid "$corpus/valid.txt"
python "$here/evaluate.py" "$work/inshore-default-q8_0.gguf" --prompts "$corpus/prompts.txt"
