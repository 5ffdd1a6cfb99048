"""`slt estimate`: one checkpoint, one number."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from samplers.errors import InputError
from slt.cli.naming import naming


def estimate(
    task: Annotated[Path, typer.Argument(help="Python file with model(), data() and optionally loss(output, target).")],
    checkpoint: Annotated[
        Path, typer.Argument(help="Weights: .pt, .pth, .ckpt, .safetensors or a Hugging Face folder.")
    ],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a readable line.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw traces and the running estimate into this file.")] = None,
    save: Annotated[
        Path | None, typer.Option(help="Save draws and estimate as netCDF (.nc), for slt diagnose.")
    ] = None,
    chains: Annotated[int, typer.Option(help="Number of chains.")] = 8,
    warmup: Annotated[int | None, typer.Option(help="Draws left out at the front. [default: detected]")] = None,
    draws: Annotated[
        int | None,
        typer.Option(help="Draws per chain; a warm-up that is detected is part of them. [default: until the target]"),
    ] = None,
    thin: Annotated[int | None, typer.Option(help="Steps per recorded draw. [default: 1]")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Minibatch size of the SGLD samplers. [default: 256]")] = None,
    step_size: Annotated[
        float | None,
        typer.Option(help="ε of w - (ε/2) G ∇U + √(εG) ξ. [default: from the curvature or the acceptance]"),
    ] = None,
    gamma: Annotated[
        float | None, typer.Option(help="Localization γ. [default: d / (0.3 |w*|)², see `slt.settings.default_gamma`]")
    ] = None,
    beta: Annotated[float | None, typer.Option(help="Inverse temperature β. [default: 1/log n]")] = None,
    sampler: Annotated[
        str,
        typer.Option(
            help="auto, hmc, mala, nuts, sgld, sgld-cv, psgld, adam-sgld, sghmc or sgnht. auto: hmc where a pass over "
            "the data is cheap, else sgld-cv."
        ),
    ] = "auto",
    preconditioner: Annotated[
        str,
        typer.Option(
            help="auto, identity, diagonal or low-rank. auto: diagonal for the SGLD samplers; for hmc "
            "low-rank where chains share stiff directions, else identity; for mala identity."
        ),
    ] = "auto",
    seed: Annotated[int, typer.Option(help="The same seed gives the same bits.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ... or auto.")] = "auto",
    dtype: Annotated[str | None, typer.Option(help="float32 or float64. [default: the model's own]")] = None,
    target_error: Annotated[float, typer.Option(help="Relative standard error at which to stop.")] = 0.04,
    max_steps: Annotated[int, typer.Option(help="Budget of gradient evaluations per chain.")] = 20_000,
    max_seconds: Annotated[
        float | None, typer.Option(help="Budget of seconds; nuts runs in one piece whatever it is. [default: none]")
    ] = None,
    evaluation: Annotated[str, typer.Option(help="How chains are evaluated: auto, vmap, loop or compile.")] = "auto",
    amp: Annotated[
        bool, typer.Option("--amp", help="Passes in bfloat16, weights in --dtype: for coarse answers.")
    ] = False,
    memory: Annotated[float, typer.Option(help="GiB that activations may take at once.")] = 1.0,
    extrapolate: Annotated[
        bool,
        typer.Option(
            "--extrapolate/--no-extrapolate",
            help="Measure the bias of steps without rejection with chains at twice the step, and take it out.",
        ),
    ] = True,
    remedy: Annotated[
        str | None,
        typer.Option(
            help="For a w* that is no minimum: gradient-normal (chains stay normal to the gradient at w*) or "
            "heat-capacity (llc from the variance of the loss, without L(w*))."
        ),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Keep the state of the run in this file, and go on from it if it is there.")
    ] = None,
    ladder: Annotated[
        bool,
        typer.Option(
            "--ladder",
            help="The local free energy instead, from a ladder of temperatures up to --beta [default: 1], with WBIC "
            "and the curve of λ over β. `slt compare` reads what --save FILE (.json or .nc) writes.",
        ),
    ] = False,
    multiplicity: Annotated[
        int | None,
        typer.Option(help="m in the asymptotic form λ log nβ - (m-1) log log nβ that --ladder prints. [default: 1]"),
    ] = None,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", help="Say what was chosen, and why, and the cross-checks; of a ladder, every rung."),
    ] = False,
    progress: Annotated[
        bool | None, typer.Option(help="Live progress on standard error. [default: if it is a terminal]")
    ] = None,
) -> None:
    """Estimate the local learning coefficient of one checkpoint.

    Exit code 0: a number, with status ok or warning. 1: no usable number (status failed). 2: the input cannot be
    used.
    """
    from slt.checkpoints import load_checkpoint
    from slt.files import check_writable
    from slt.free_energies.local import free_energy
    from slt.llc.estimation import estimate_llc
    from slt.llc.soundness import half_precision
    from slt.plot import plot_estimate
    from slt.settings import Settings
    from slt.task import load_task

    for output in (plot, save):
        if output is not None:
            check_writable(output)
    if ladder and (plot is not None or resume is not None or remedy is not None):
        raise InputError("--ladder does not go with --plot, --resume or --remedy: leave them out")
    if multiplicity is not None and not ladder:
        raise InputError("--multiplicity belongs to --ladder: give both, or leave it out")
    settings = Settings(
        chains=chains,
        warmup=warmup,
        draws=draws,
        thin=thin,
        batch_size=batch_size,
        step_size=step_size,
        gamma=gamma,
        beta=beta,
        sampler=sampler,
        preconditioner=preconditioner,
        seed=seed,
        device=device,
        dtype=dtype,
        target_error=target_error,
        max_steps=max_steps,
        max_seconds=max_seconds,
        evaluation=evaluation,
        amp=amp,
        memory=memory,
        extrapolate=extrapolate,
        remedy=remedy,
    )
    loaded = load_task(task)
    stored = load_checkpoint(loaded.model, checkpoint).dtype
    common = {"progress": progress, "checkpoint": str(checkpoint), **vars(settings)}
    if ladder:
        m = 1 if multiplicity is None else multiplicity
        with naming(task):
            curve = free_energy(loaded.model, loaded.data, loaded.loss, multiplicity=m, **common)
        if verbose:
            for line in curve.rung_lines():
                typer.echo(f"  {line}", err=True)
        typer.echo(curve.to_json() if json else str(curve))
        if save is not None:
            curve.save(save)
        raise typer.Exit(1 if curve.status == "failed" else 0)
    try:
        with naming(task):
            result = estimate_llc(loaded.model, loaded.data, loaded.loss, resume=resume, **common)
    except KeyboardInterrupt:
        kept = "to keep what is computed, give --resume FILE"
        if resume is not None:
            kept = f"{resume} has the run so far, and the same command goes on from it"
        typer.echo(f"slt: interrupted: {kept}", err=True)
        raise typer.Exit(130) from None
    remarks = (*half_precision({stored}, result.dtype), *result.remarks)
    result = replace(result, remarks=tuple(dict.fromkeys(remarks)))
    if verbose:
        for line in (*result.choices, *result.cross_checks):
            typer.echo(f"  {line}", err=True)
    typer.echo(result.to_json() if json else str(result))
    if save is not None:
        result.save(save)
    if plot is not None:
        plot_estimate(result, plot)
    if result.status == "failed":
        raise typer.Exit(1)
