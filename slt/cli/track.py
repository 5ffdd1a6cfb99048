"""`slt track`: a folder of checkpoints, one curve."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from samplers.errors import InputError


def track(
    task: Annotated[Path, typer.Argument(help="Python file with model(), data() and optionally loss(output, target).")],
    folder: Annotated[Path, typer.Argument(help="Folder of checkpoints with their steps in their names.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results. Run again, it goes on.")],
    workers: Annotated[int, typer.Option(help="Processes that share the work.")] = 1,
    cluster: Annotated[
        str | None, typer.Option(help="A Dask scheduler, tcp://host:port, whose workers share the work.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow the folder as training writes to it, until Ctrl-C or --stop-after.")
    ] = False,
    interval: Annotated[float | None, typer.Option(help="With --watch: seconds between looks. [default: 2]")] = None,
    stop_after: Annotated[
        float | None, typer.Option(help="With --watch: end after this many seconds without anything new.")
    ] = None,
    on_transition: Annotated[
        str | None,
        typer.Option(
            help="With --watch: a command to run for each transition that shows, without a shell. It gets the "
            "transition as JSON on standard input; SLT_FOLDER and SLT_RUN name the two folders."
        ),
    ] = None,
    gamma: Annotated[
        float | None, typer.Option(help="Localization γ of all checkpoints. [default: chosen from the last one]")
    ] = None,
    beta: Annotated[
        float | None, typer.Option(help="Inverse temperature β of all checkpoints. [default: 1/log n]")
    ] = None,
    chains: Annotated[int, typer.Option(help="Number of chains.")] = 8,
    draws: Annotated[
        int | None, typer.Option(help="Draws per chain after warm-up. [default: until the error target]")
    ] = None,
    sampler: Annotated[str, typer.Option(help="As in slt estimate.")] = "auto",
    step_size: Annotated[
        float | None, typer.Option(help="As in slt estimate. [default: chosen anew each time]")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Minibatch size of the SGLD samplers. [default: 256]")] = None,
    remedy: Annotated[
        str,
        typer.Option(
            help="What to do about checkpoints that are no minimum of the loss, the same at all of them: auto "
            "(gradient-normal), none, gradient-normal (chains stay normal to the gradient at w*) or heat-capacity."
        ),
    ] = "auto",
    seed: Annotated[int, typer.Option(help="The same seed, and noise, for all checkpoints.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ... or auto.")] = "auto",
    target_error: Annotated[float, typer.Option(help="Relative standard error at which to stop.")] = 0.04,
    max_steps: Annotated[
        int | None,
        typer.Option(help="Gradient evaluations per chain and checkpoint. [default: hmc and mala 3000, else 20000]"),
    ] = None,
    progress: Annotated[
        bool | None, typer.Option(help="A line on standard error for each checkpoint. [default: if it is a terminal]")
    ] = None,
) -> None:
    """Estimate the learning coefficient of every checkpoint in a folder, and find the transitions.

    Killed at any moment and run again, it goes on where it was. Exit code 0: every checkpoint was estimated (early ones
    may be no minimum of the loss, and have no usable number). 1: some could not be read, each named on standard error,
    the others are done; or none has a usable number. 2: the input cannot be used.

    With --watch, each transition is named once, when it shows, and gamma is chosen from the first checkpoint.
    """
    from slt.cli.following import follow, remembered_interrupt, split_command
    from slt.series.folder import RunFolder
    from slt.series.tracking import track as run
    from slt.series.watching import watch as watching
    from slt.trajectory import read_trajectory

    if not watch and (interval, stop_after, on_transition) != (None, None, None):
        raise InputError("--interval, --stop-after and --on-transition go with --watch")
    command = split_command(on_transition)
    options: dict[str, Any] = {
        "workers": workers,
        "progress": progress,
        "gamma": gamma,
        "beta": beta,
        "chains": chains,
        "draws": draws,
        "sampler": sampler,
        "step_size": step_size,
        "batch_size": batch_size,
        "remedy": remedy,
        "seed": seed,
        "device": device,
        "target_error": target_error,
        "max_steps": max_steps,
    }
    with _executor(cluster) as executor:
        if cluster:  # where its workers run, other folders may be current
            task, folder = task.absolute(), folder.absolute()
        if watch:
            timing = {"interval": interval, "stop_after": stop_after}
            options |= {name: value for name, value in timing.items() if value is not None}
            with remembered_interrupt() as pressed:
                transitions = watching(task, folder, output, executor=executor, stop=pressed, **options)
                follow(transitions, command, folder, output, pressed)
            trajectory = read_trajectory(output)
        else:
            trajectory = run(task, folder, output, executor=executor, **options)
    outcome = list(zip(trajectory.step.tolist(), trajectory.status, trajectory.reasons, strict=True))
    for step, status, reasons in outcome:
        if status == "skipped":
            typer.echo(f"slt: step {step} skipped: {reasons}", err=True)
    failed = [(step, reasons) for step, status, reasons in outcome if status == "failed"]
    if failed:
        steps = ", ".join(str(step) for step, _ in failed)
        typer.echo(
            f"no usable number at {len(failed)} checkpoints (steps {steps}); the last: {failed[-1][1]}", err=True
        )
    scale = f"n = {trajectory.n:.0f}, beta = {trajectory.beta:.4g}, gamma = {trajectory.gamma:.4g}"
    typer.echo(f"{int(trajectory.usable.sum())} of {len(trajectory.step)} checkpoints have a number, at {scale}")
    found = RunFolder(output).read_transitions()
    for item in found:
        typer.echo(str(item))
    typer.echo(f"{'no' if not found else len(found)} transition{'s' * (len(found) != 1)}; results in {output}")
    if "skipped" in trajectory.status or not trajectory.usable.any():
        raise typer.Exit(1)


def _executor(address: str | None) -> Any:
    if address is None:
        return nullcontext()
    from slt.integrations.dask import cluster

    return cluster(address)
