"""Checks of every argument of every command, before the command sees it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from copy import copy
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

import typer
from typer.models import ArgumentInfo, OptionInfo, ParameterInfo

from core.command_line.completion import Values, completion, devices
from core.errors import UserError
from core.io.paths import read_path
from core.io.values import check_value

Function = TypeVar("Function", bound=Callable[..., Any])

MAY_BE_EMPTY = {"negative"}  # options whose empty text says something
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be made, and what it would take; make nothing.")
]
REPORTS: dict[str, Any] = {
    "quiet": Annotated[
        bool, typer.Option("--quiet", help="Print errors alone, and the paths of what was made on stdout.")
    ],
    "json": Annotated[
        bool, typer.Option("--json", help="Print a JSON object for each file that was made on stdout.")
    ],
}


class CommandLine(typer.Typer):
    """A typer application whose commands get checked arguments, whatever options they have.

    Paths are those of `core.io.paths.read_path`, other values pass `core.io.values.check_value`. A function
    that is called from Python gets what it is given.
    """

    def command(
        self,
        name: str | None = None,
        *,
        makes_files: bool = False,
        values: Mapping[str, Values] | None = None,
        list_models: Callable[[], None] | None = None,
        **settings: Any,
    ) -> Callable[[Function], Function]:
        """Registers a function as a command, see `typer.Typer.command`.

        makes_files: the command reports the files that it makes by `core.command_line.reporting`, and gets
            the options --quiet and --json.
        values: those that shells complete, by the name of the parameter.
        list_models: prints the models that --model can name, for an option --list-models.
        """
        register = super().command(name, **settings)

        def decorate(function: Function) -> Function:
            command = _with_checks(function, {"device": devices, **(values or {})})
            if makes_files:
                command = _with_options(command, REPORTS, _reporting)
            if list_models:
                command = _with_options(command, {"list_models": _listing(list_models)}, _without_models)
            register(command)
            return function

        return decorate


Wrapper = Callable[[Callable[..., Any], dict[str, Any]], Any]
"""(function, values of its arguments and of the added options) -> the function's result."""


def _with_options(
    function: Callable[..., Any], added: Mapping[str, Any], wrapper: Wrapper
) -> Callable[..., Any]:
    """The function with more options. added: their annotations; all are switches."""
    signature = inspect.signature(function, eval_str=True)

    @wraps(function)
    def wrapped(**values: Any) -> Any:
        return wrapper(function, values)

    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
        for name, annotation in added.items()
    ]
    parameters = [*signature.parameters.values(), *more]
    wrapped.__signature__ = signature.replace(parameters=parameters)  # pyright: ignore[reportAttributeAccessIssue]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapped


def _reporting(function: Callable[..., Any], values: dict[str, Any]) -> Any:
    """Calls a function that reports by --quiet and --json."""
    from core.command_line.reporting import report_as

    with report_as(quiet=values.pop("quiet"), as_json=values.pop("json")):
        return function(**values)


def _listing(list_models: Callable[[], None]) -> Any:
    """The annotation of --list-models, which does not need what the command needs."""

    def show(chosen: bool) -> None:
        if chosen:
            list_models()
            raise typer.Exit

    text = "Print the models that --model can name, and whether they are here, and exit."
    return Annotated[bool, typer.Option("--list-models", callback=show, is_eager=True, help=text)]


def _without_models(function: Callable[..., Any], values: dict[str, Any]) -> Any:
    """Calls a function where no models are to be listed."""
    del values["list_models"]
    return function(**values)


def _with_checks(function: Callable[..., Any], completed: Mapping[str, Values]) -> Callable[..., Any]:
    """The function with checks of its arguments, for typer, which reads its signature.

    completed: values of parameters that shells complete.
    """
    signature = inspect.signature(function, eval_str=True)
    labels = {name: _label(parameter) for name, parameter in signature.parameters.items()}

    @wraps(function)
    def checked(**values: Any) -> Any:
        for name, value in values.items():
            check_value(value, labels[name])
            if value == "" and labels[name].startswith("--") and name not in MAY_BE_EMPTY:
                raise UserError(f"{labels[name]} is empty: give a value, or leave it out.")
        return function(**values)

    parameters = [
        parameter.replace(
            annotation=_completing(_reading_paths(parameter.annotation, labels[name]), completed.get(name))
        )
        for name, parameter in signature.parameters.items()
    ]
    checked.__signature__ = signature.replace(parameters=parameters)  # pyright: ignore[reportAttributeAccessIssue]
    checked.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return checked


def _label(parameter: inspect.Parameter) -> str:
    """How messages call a parameter: "--first-stage", or "PROMPT"."""
    information = _information(parameter.annotation)
    if isinstance(information, ArgumentInfo):
        return parameter.name.upper()
    if isinstance(information, OptionInfo):
        for declared in (information.default, *(information.param_decls or ())):  # typer reads both
            if isinstance(declared, str) and declared.startswith("--"):
                return declared.split("/")[0]
    return f"--{parameter.name.replace('_', '-')}"


def _information(annotation: Any) -> ParameterInfo | None:
    """What the annotation of a parameter tells typer."""
    return next((part for part in get_args(annotation) if isinstance(part, ParameterInfo)), None)


def _reading_paths(annotation: Any, label: str) -> Any:
    """The annotation of a parameter, whose paths typer reads by `read_path`."""
    information = _information(annotation)
    if information is None or not _has_path(annotation):
        return annotation

    def path(text: str) -> Path:  # typer shows its name in the help
        return read_path(text, label)

    reading = copy(information)
    reading.parser = path
    return Annotated[get_args(annotation)[0], reading]


def _completing(annotation: Any, values: Values | None) -> Any:
    """The annotation of a parameter that shells complete by these values."""
    information = _information(annotation)
    if information is None or values is None:
        return annotation
    completing = copy(information)
    completing.autocompletion = completion(values)
    return Annotated[get_args(annotation)[0], completing]


def _has_path(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation is Path or any(map(_has_path, get_args(annotation)))
