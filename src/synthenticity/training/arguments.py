"""Our settings in the words of `transformers.Trainer`.

Batches are cut, shared among processes and put in order by the consumer, so the Trainer is told
of them only what it reports.
"""

import os
from pathlib import Path

import torch
from transformers import TrainingArguments

from synthenticity.config import Config
from synthenticity.runtimes.devices import resolve_device, resolve_dtype
from synthenticity.stream.slicing import share_of
from synthenticity.training.checks import reports
from synthenticity.training.ranks import Ranks


def trainer_arguments(config: Config, folder: Path, ranks: Ranks) -> TrainingArguments:
    """Return the Trainer's settings; making them joins the processes of a distributed run."""
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(folder / "tensorboard")
    device = resolve_device(config.device)
    schedule = {"constant": "constant_with_warmup"}.get(config.lr_decay, config.lr_decay)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=config.max_iters,
        per_device_train_batch_size=share_of(config.batch_size, ranks.world_size),
        per_device_eval_batch_size=max(config.batch_size, 32),
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type=schedule,
        warmup_steps=config.warmup_iters,
        weight_decay=config.weight_decay,
        adam_beta2=0.98,
        max_grad_norm=config.max_grad_norm,
        bf16=resolve_dtype(config.dtype, device) == torch.bfloat16,
        use_cpu=device.type == "cpu",
        seed=config.seed,
        ignore_data_skip=True,
        eval_strategy="steps",
        eval_steps=config.eval_interval,
        save_strategy="steps",
        save_steps=config.save_interval,
        logging_nan_inf_filter=False,
        logging_steps=min(10, config.eval_interval),
        report_to=reports(config),
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=device.type == "cuda",
        dataloader_num_workers=config.dataloader_num_workers,
        ddp_find_unused_parameters=True,  # a frozen encoder's are
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # one device: several are for distributed training
    return arguments
