"""A pickle read into plain values without executing anything, and without torch.

torch.save writes a zip file whose data.pkl describes everything but the bytes of tensors. Python's
own unpickler would call what a pickle names. The reader here walks the pickle's operations instead:
plain values become themselves, an object of Megatron, DeepSpeed, numpy or torch becomes a
`StandIn`, and a file that names anything else is refused.
"""

import argparse
import pickletools
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from encore.checkpoints import torch_zip
from encore.errors import CheckpointError

# What Megatron-DeepSpeed stores beside tensors and plain values: an enum, DeepSpeed's loss scaler
# and addresses of fragments, numpy's random state.
FOREIGN = re.compile(r"(megatron|deepspeed|numpy)\.[\w.]+", re.ASCII)
NAMESPACE = "argparse.Namespace"
# Python 3.11.0 to 3.11.3 pickles a member of an enum as getattr(class, name), later ones by value.
MEMBER = "builtins.getattr"

# Names of torch in a file of tensors and dtypes. torch's own safe reader allows more, such as
# tensor subclasses; what no checkpoint needs is refused here.
_TORCH = re.compile(
    r"torch\.(bfloat16|bool|(float|complex|u?int)\d+|float8_\w+|device)"
    r"|torch\.(cuda\.)?[A-Z]\w*Storage|torch\.storage\.(Typed|Untyped)Storage"
    r"|torch\.nn\.parameter\.Parameter|torch\._utils\._rebuild_(tensor|tensor_v2|parameter)",
    re.ASCII,
)
_DICTIONARIES = ("collections.OrderedDict", "collections.Counter")
_PLAIN_TYPES = (*_DICTIONARIES, "torch.Size", "builtins.set", "_codecs.encode", NAMESPACE)

# The operations of pickle protocol 2, which torch.save writes; torch's safe reader refuses others,
# too.
_LITERALS = ("BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT")
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_TUPLE_LENGTHS = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
# where the values of a tuple, a list or a dictionary begin on the stack
_MARK = object()


class StandIn:
    """What stands in for an object of another program: its name and data, no behaviour."""

    name: str
    values: tuple[Any, ...] = ()

    def __init__(self, *values: Any) -> None:
        self.values = values

    def __setstate__(self, state: Any) -> None:
        self.values = (state,)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StandIn):
            return NotImplemented
        return self.name == other.name and self.values == other.values

    def __hash__(self) -> int:
        return hash(self.name)


def stand_in(name: str) -> type[StandIn]:
    """The class of stand-ins for objects of this full name."""
    return type(name.rpartition(".")[2], (StandIn,), {"name": name})


def member(kind: type[StandIn], name: str) -> StandIn:
    """What stands in for the member of an enum: getattr of a stand-in's class, and of nothing else.

    Raises TypeError.
    """
    if not (isinstance(kind, type) and issubclass(kind, StandIn) and type(name) is str):
        raise TypeError("it takes an attribute of what is no enum")
    return kind(name)


def refused(path: Path, names: list[str]) -> CheckpointError:
    """The error for a file that names what may not be loaded."""
    return CheckpointError(
        f"{path} holds {', '.join(sorted(names))}, which could run code when loaded",
        "do not load this file: a checkpoint needs only tensors and plain values",
    )


def read(path: Path) -> Any:
    """What a file of torch.save holds, with stand-ins for its tensors.

    Raises CheckpointError for a file that is torn, or names what may not be loaded; UnreadableError
    for one that cannot be read now, or is in another format.
    """
    try:
        with torch_zip.open_file(path) as archive:
            return _Interpreter(path).run(archive.read(_description(archive)))
    except CheckpointError:
        raise
    except Exception as error:  # damaged bytes can mislead the reader in any way
        raise torch_zip.unreadable(path, error) from None


def _description(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """The entry of the pickle."""
    for entry in torch_zip.entries(archive):
        folder, _, name = entry.filename.rpartition("/")
        if name == "data.pkl" and "/" not in folder:
            return entry
    raise ValueError("it has no data.pkl")


class _Interpreter:
    """Runs the operations that torch.save's pickles consist of; all others are refused."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.operations: dict[str, Callable[[Any], None]] = {
            "PROTO": lambda _: None,
            "MARK": lambda _: self.stack.append(_MARK),
            "GLOBAL": self._global,
            "BINPERSID": self._storage,
            "BINPUT": self._memorize,
            "LONG_BINPUT": self._memorize,
            "BINGET": self._recall,
            "LONG_BINGET": self._recall,
            "TUPLE": lambda _: self.stack.append(tuple(self._since_mark())),
            "APPEND": lambda _: self._append([self.stack.pop()]),
            "APPENDS": lambda _: self._append(self._since_mark()),
            "SETITEM": lambda _: self._set_items(self._take(2)),
            "SETITEMS": lambda _: self._set_items(self._since_mark()),
            "NEWOBJ": self._reduce,
            "REDUCE": self._reduce,
            "BUILD": self._build,
        }

    def run(self, pickled: bytes) -> Any:
        """The value that a pickle describes."""
        for opcode, argument, _ in pickletools.genops(pickled):
            if opcode.name in _LITERALS:
                self.stack.append(argument)
            elif opcode.name in _CONSTANTS:
                self.stack.append(_CONSTANTS[opcode.name]())
            elif opcode.name in _TUPLE_LENGTHS:
                self.stack.append(tuple(self._take(_TUPLE_LENGTHS[opcode.name])))
            elif opcode.name in self.operations:
                self.operations[opcode.name](argument)
            elif opcode.name != "STOP":
                raise ValueError(f"it needs the pickle operation {opcode.name}")
        return self.stack.pop()

    def _take(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise ValueError("its pickle ends in disorder")
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def _since_mark(self) -> list[Any]:
        values = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def _global(self, argument: str) -> None:
        module, _, attribute = argument.partition(" ")
        # protocol 2 says Python 2's names
        name = f"{module.replace('__builtin__', 'builtins')}.{attribute}"
        known = name in _PLAIN_TYPES or name == MEMBER
        if not known and not FOREIGN.fullmatch(name) and not _TORCH.fullmatch(name):
            raise refused(self.path, [name])
        # not the object of that name: nothing is imported, so that nothing can be called
        self.stack.append(stand_in(name)())

    def _storage(self, _: None) -> None:
        # the persistent ID says its type, its file in the zip and its length
        self.stack.append(stand_in("torch.storage")(self.stack.pop()))

    def _memorize(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def _recall(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def _append(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise ValueError("it appends to what is no list")
        target.extend(values)

    def _set_items(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict:
            raise ValueError("it sets items of what is no dictionary")
        # a key that is no key (a list, say) raises TypeError, which makes the file unreadable
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[key] = value

    def _reduce(self, _: None) -> None:
        """A call, in the pickle's eyes; plain types give plain values, all others a stand-in."""
        called, arguments = self._take(2)
        if not isinstance(called, StandIn) or type(arguments) is not tuple:
            raise ValueError("it calls what is no name")
        self.stack.append(_value(called, arguments))

    def _build(self, _: None) -> None:
        """The state of an object: a namespace's attributes, what a stand-in stands for."""
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, StandIn):
            target.values = (state,)
        elif isinstance(target, argparse.Namespace) and type(state) is dict:
            vars(target).update(state)
        elif type(target) is not dict:  # a state_dict has metadata, which nobody needs
            raise ValueError("it builds what has no state")


def _value(called: StandIn, arguments: tuple[Any, ...]) -> Any:
    if called.name == NAMESPACE and not arguments:
        return argparse.Namespace()
    if called.name in _DICTIONARIES and not arguments:
        return {}
    if called.name == "torch.Size" and len(arguments) == 1:
        return tuple(arguments[0])
    if called.name == "builtins.set" and len(arguments) == 1:
        return set(arguments[0])
    if called.name == "_codecs.encode" and arguments[1:] == ("latin1",):
        return str(arguments[0]).encode("latin1")
    if called.name == MEMBER and len(arguments) == 2:
        return member(type(arguments[0]), arguments[1])
    if called.name in _PLAIN_TYPES or called.name == MEMBER:
        raise ValueError(f"it makes a {called.name} of {len(arguments)} values")
    return type(called)(*arguments)
