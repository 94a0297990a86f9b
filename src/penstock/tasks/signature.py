"""A task's signature: turns a call into a payload, and a payload back into a call.

The payload is one JSON object, parameter name -> value. Positional arguments are mapped to their
names, so that a call gives the same payload whichever way it is written; `*args` stand under their
own name as a list, `**kwargs` under theirs as an object. A parameter that the call leaves out is
left out of the payload: its default is the function's at the time when the job runs.

Binding is done by the constructor of a msgspec struct with one field per parameter, which is
several times faster than `inspect.Signature.bind`; the same struct reads payloads and checks them
against the annotations.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import msgspec

from penstock.errors import BadArguments, BadSetting, SerializationError
from penstock.serializers.json import JsonReader, JsonWriter
from penstock.tasks.annotations import readable
from penstock.tasks.secret_parameters import holds_secret, part

#: Attribute of a function that refuses arguments beyond what their types say: it is called with
#: name -> value where a job is enqueued, and raises BadArguments.
CHECK: Final = "check_arguments"


class _Absent:
    """The value of a parameter that a call leaves out."""

    def __repr__(self) -> str:
        return "<absent>"


_ABSENT: Final = _Absent()
_NAMED: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Signature:
    """The parameters of one function, ready to bind, write and read calls.

    Compiled at first use, not at decoration: annotations may name what is defined further down.

    Args:
        task: name of the task, for errors.
        function: what the task runs.
    """

    def __init__(self, task: str, function: Callable[..., Any]) -> None:
        self._task = task
        self._function = function
        self._what = f"arguments of task {task}"
        self._write = JsonWriter().write
        self._check: Callable[[dict[str, Any]], None] | None = getattr(function, CHECK, None)

    @cached_property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The parameters by name, in order."""
        return inspect.signature(self._function).parameters

    @cached_property
    def _hints(self) -> dict[str, Any]:
        try:
            return typing.get_type_hints(self._function, include_extras=True)
        except NameError as error:
            raise BadSetting(
                f"task {self._task}: an annotation cannot be resolved at run time ({error}): "
                "import or define it at module level, outside `if TYPE_CHECKING:`"
            ) from error

    @cached_property
    def _struct(self) -> type[msgspec.Struct]:
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        # Required fields of a keyword-only parameter may follow optional ones; a struct wants
        # them first. Positional order is kept among those that may be given by position.
        later: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        for name, parameter in self.parameters.items():
            if name.startswith("__"):
                raise BadSetting(
                    f"task {self._task}: parameter {name!r} begins with two underscores, which "
                    "Python rewrites in classes: give it another name"
                )
            hint = self._hint_of(parameter)
            required = parameter.default is parameter.empty and parameter.kind in (
                parameter.POSITIONAL_ONLY,
                *_NAMED,
            )
            field = (name, hint) if required else (name, hint, _ABSENT)
            (later if parameter.kind is parameter.KEYWORD_ONLY else fields).append(field)
        try:
            return self._define(fields, later)
        except TypeError as error:
            raise BadSetting(
                f"task {self._task}: an annotation is not one that JSON can be read as: {error}"
            ) from error

    def _define(self, fields: Sequence[Any], keyword_only: Sequence[Any]) -> type[msgspec.Struct]:
        name = self._task.rpartition(".")[2]
        by_position = msgspec.defstruct(
            name, fields, omit_defaults=True, forbid_unknown_fields=True
        )
        return msgspec.defstruct(
            name,
            keyword_only,
            bases=(by_position,),
            kw_only=True,
            omit_defaults=True,
            forbid_unknown_fields=True,
        )

    def _hint_of(self, parameter: inspect.Parameter) -> Any:
        hint = readable(self._hints.get(parameter.name, Any))
        if parameter.kind is parameter.VAR_POSITIONAL:
            return types.GenericAlias(list, (hint,))
        if parameter.kind is parameter.VAR_KEYWORD:
            return types.GenericAlias(dict, (str, hint))
        return hint

    @cached_property
    def _bind(self) -> Callable[..., msgspec.Struct]:
        if all(parameter.kind in _NAMED for parameter in self.parameters.values()):
            return self._struct
        signature, struct = inspect.signature(self._function), self._struct
        return lambda *args, **kwargs: struct(**signature.bind(*args, **kwargs).arguments)

    @cached_property
    def _reader(self) -> JsonReader:
        for name, parameter in self.parameters.items():
            try:
                JsonReader(self._hint_of(parameter))
            except SerializationError as error:
                raise BadSetting(
                    f"task {self._task}: parameter {name!r}: {error}; give it an annotation that "
                    "msgspec reads, or Any"
                ) from error
        return JsonReader(self._struct)

    @cached_property
    def secret_names(self) -> frozenset[str]:
        """Parameters whose annotation holds a `Secret`: their arguments are encrypted, whole."""
        return frozenset(name for name in self.parameters if holds_secret(self._hints.get(name)))

    def check(self) -> None:
        """Compile now what is otherwise compiled at first use.

        Raises:
            BadSetting: an annotation cannot be resolved, or is not one that JSON can be read as.
        """
        _ = self._bind, self._reader, self.secret_names

    def accepts(self, name: str) -> bool:
        """Return whether an argument of this name can be passed by keyword."""
        kinds = {parameter.kind for parameter in self.parameters.values()}
        named = self.parameters.get(name)
        return (named is not None and named.kind in _NAMED) or (
            inspect.Parameter.VAR_KEYWORD in kinds
        )

    def payload(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """Return the payload of a call.

        Raises:
            BadArguments: the call does not fit the signature or its annotations.
            SerializationError: JSON cannot hold an argument.
            BadSetting: as `check`.

        Cost: about 1 us for a few plain arguments.
        """
        bound = self._bound(args, kwargs)
        if self._check is not None:
            self._check({name: getattr(bound, name) for name in self.parameters})
        text = self._write(bound, self._what)
        decode = self._reader.decode
        try:
            # What a worker could not read is refused here, where the mistake can be seen.
            decode(text)
        except Exception as error:
            raise BadArguments(
                f"{self._what} do not fit: {error}; the signature is {self.shown}"
            ) from error
        return text

    def parted(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[bytes, bytes | None]:
        """Return the payload of a call without its secret arguments, and those; None: it has none.

        Raises:
            BadArguments, SerializationError, BadSetting: as `payload`.
        """
        if not self.secret_names:
            return self.payload(args, kwargs), None
        bound = self._bound(args, kwargs)
        given = {n: v for n in self.parameters if (v := getattr(bound, n)) is not _ABSENT}
        return part(given, self.secret_names, self._reader.decode, (self._what, self.shown))

    def digest(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Return the SHA-256 of a call: equal arguments give equal digests, in any order of keys.

        Raises:
            SerializationError: JSON cannot hold an argument.
        """
        import hashlib

        writer = JsonWriter(canonical=True, reveals=bool(self.secret_names))
        canonical = writer.write(self._bound(args, kwargs), self._what)
        return hashlib.sha256(canonical).hexdigest()

    def call(self, payload: bytes | msgspec.Raw) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Turn a payload back into the arguments of a call, typed by the annotations.

        Raises:
            SerializationError: not JSON, names that the function has no parameter for, or values
                that do not fit the annotations.
        """
        values = self._reader.read(payload, self._what)
        given = {
            name: value
            for name in self.parameters
            if (value := getattr(values, name)) is not _ABSENT
        }
        if self._bind is self._struct:
            return (), given
        return self._spread(given)

    @cached_property
    def _result_reader(self) -> JsonReader:
        hint = readable(self._hints.get("return", Any))
        try:
            return JsonReader(hint)
        except SerializationError as error:
            raise SerializationError(
                f"task {self._task}: its return annotation: {error}; annotate what JSON can hold, "
                "or read the job by app.job(id)"
            ) from error

    def result(self, text: bytes | msgspec.Raw) -> Any:
        """Return a stored result as the return annotation says.

        Raises:
            SerializationError: it does not fit, or nothing can be read as this annotation.
            BadSetting: the annotation cannot be resolved.
        """
        return self._result_reader.read(text, f"result of task {self._task}")

    def _spread(self, given: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of a function with `*args`, `**kwargs` or positional-only ones."""
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        kinds = {parameter.kind: name for name, parameter in self.parameters.items()}
        extra = given.get(kinds.get(inspect.Parameter.VAR_POSITIONAL, ""), ())
        for name, parameter in self.parameters.items():
            if parameter.kind is parameter.POSITIONAL_ONLY or (
                extra and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
            ):
                # A later one may be given where an earlier one is not: its default fills the gap.
                args.append(given.get(name, parameter.default))
            elif parameter.kind is parameter.VAR_POSITIONAL:
                args.extend(extra)
            elif parameter.kind is parameter.VAR_KEYWORD:
                kwargs.update(given.get(name, {}))
            elif name in given:
                kwargs[name] = given[name]
        return tuple(args), kwargs

    def _bound(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> msgspec.Struct:
        try:
            return self._bind(*args, **kwargs)
        except TypeError:
            raise self._misfit(args, kwargs) from None

    def _misfit(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> BadArguments:
        try:
            inspect.signature(self._function).bind(*args, **kwargs)
        except TypeError as error:
            why = str(error)
        else:
            why = "the arguments do not fit"
        return BadArguments(f"task {self._task}: {why}; the signature is {self.shown}")

    @cached_property
    def shown(self) -> str:
        """The signature as text, for errors."""
        return str(inspect.signature(self._function))
