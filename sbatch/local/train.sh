#!/bin/bash
# Encore 0.1.0: train 500k500k100k on This machine, no scheduler and no container.
# Made by: tools/render_sbatch.py 500k500k100k --cluster local --workspace /srv/encore
# Do not edit; render it again instead.
#
# 495,840 parameters (500K), 500,000 tokens, 100,000 of them unique (5 epochs) of Python's own documentation, the demo's text.
# 976 steps of 2 sequences of 256 on 1 × cpu: 2 at a time, 1 data-, 1 tensor-, 1 pipeline-parallel.
# Trainer: this repository, tools/pretrain_gpt.py.
set -euo pipefail

CONFIG=/srv/encore/runs/500k500k100k
ENCORE=${ENCORE_HOME:-/opt/encore}
PYTHON=${ENCORE_PYTHON:-$ENCORE/.venv/bin/python}
[ -x "$PYTHON" ] || PYTHON=python3

# Check the inputs first: a job that lacks one should fail within seconds.
failed=0
need() {
  if [ ! -s "$1" ]; then
    echo "error: $1 is missing or empty; $2" >&2
    failed=1
  fi
}
need /srv/encore/tokenizers/demo/vocab.json "make it with tools/run_demo.py --data-only --workspace DIR"
need /srv/encore/tokenizers/demo/merges.txt "make it with tools/run_demo.py --data-only --workspace DIR"
need /srv/encore/data/pydocs/pydocs_100K_text_document.bin "make it with tools/prepare_corpus.py tokenize"
need /srv/encore/data/pydocs/pydocs_100K_text_document.idx "make it with tools/prepare_corpus.py tokenize"
need /srv/encore/data/pydocs/pydocs_validation_text_document.bin "make it with tools/prepare_corpus.py tokenize"
need /srv/encore/data/pydocs/pydocs_validation_text_document.idx "make it with tools/prepare_corpus.py tokenize"
if [ -e "$CONFIG"/kill-switch ]; then
  echo "error: $CONFIG/kill-switch exists and would stop the trainer at once; remove it to train" >&2
  failed=1
fi
[ "$failed" = 0 ] || exit 1

mkdir -p "$CONFIG" /srv/encore/checkpoints/500k500k100k /srv/encore/tensorboard/500k500k100k /srv/encore/caches
cat > "$CONFIG"/train100kpydocs.txt <<'END'
"train: 1.0 0:1 /srv/encore/data/pydocs/pydocs_100K_text_document"
END
cat > "$CONFIG"/valpydocs.txt <<'END'
"validation: 1.0 0:1 /srv/encore/data/pydocs/pydocs_validation_text_document"
END
cat > "$CONFIG"/deepspeed.json <<'END'
{
  "train_micro_batch_size_per_gpu": 2,
  "train_batch_size": 2,
  "gradient_clipping": 1.0,
  "zero_optimization": {
    "stage": 1
  },
  "steps_per_print": 2000,
  "wall_clock_breakdown": false
}
END

export HF_HOME=/srv/encore/caches/huggingface
export TORCH_HOME=/srv/encore/caches/torch
# Packages in the home folder would shadow the image's own.
export PYTHONNOUSERSITE=1

# The trainer's arguments, the same on every rank.
ARGS=(
  --tensor-model-parallel-size 1
  --pipeline-model-parallel-size 1
  --num-layers 4
  --hidden-size 80
  --ffn-hidden-size 320
  --num-attention-heads 5
  --kv-channels 16
  --seq-length 256
  --max-position-embeddings 256
  --attention-dropout 0.1
  --hidden-dropout 0.1
  --micro-batch-size 2
  --global-batch-size 2
  --train-samples 1953
  --optimizer adam
  --adam-beta1 0.9
  --adam-beta2 0.999
  --adam-eps 1e-08
  --lr 0.001
  --min-lr 0.0001
  --lr-decay-style cosine
  --lr-decay-samples 1953
  --lr-warmup-samples 97
  --weight-decay 0.1
  --clip-grad 1
  --seed 1234
  --log-interval 25
  --save-interval 244
  --eval-interval 200
  --eval-iters 20
  --tensorboard-queue-size 5
  --vocab-file /srv/encore/tokenizers/demo/vocab.json
  --merge-file /srv/encore/tokenizers/demo/merges.txt
  --data-impl mmap
  --save /srv/encore/checkpoints/500k500k100k
  --load /srv/encore/checkpoints/500k500k100k
  --tensorboard-dir /srv/encore/tensorboard/500k500k100k
  --deepspeed_config /srv/encore/runs/500k500k100k/deepspeed.json
  --zero-stage 1
  --kill-switch-path /srv/encore/runs/500k500k100k/kill-switch
  --deepspeed
  --log-timers-to-tensorboard
  --log-batch-size-to-tensorboard
  --log-validation-ppl-to-tensorboard
  --train-weighted-split-paths-path /srv/encore/runs/500k500k100k/train100kpydocs.txt
  --valid-weighted-split-paths-path /srv/encore/runs/500k500k100k/valpydocs.txt
)

exec "$PYTHON" -u "$ENCORE"/tools/pretrain_gpt.py "${ARGS[@]}"
