"""Reads YAML files; aliases and keys that occur twice are errors, which name the line."""

from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from core.errors import UserError
from core.io.paths import read_text
from core.io.values import shortened

LARGEST = 2**16  # bytes of a file


def read_yaml(path: Path, what: str) -> object:
    """The value in a YAML file, {} for an empty one. what: the word for the file in messages.

    Raises UserError for a file that cannot be read, is no YAML, or has a key twice in a mapping. Anchors are
    no part of presets: a few lines of them can stand for billions of values.
    """
    text = read_text(path, what, LARGEST)
    try:
        values = yaml.load(text, _Loader)  # a safe loader
    except RecursionError as error:
        raise UserError(f"Cannot read {what} {path}: its lists or mappings are nested too deeply.") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = text.splitlines()[mark.line : mark.line + 1] if mark else []
        where = f" in line {mark.line + 1} ({shortened(line[0].strip())})" if mark and line else ""
        raise _invalid(what, path, where, error.problem or error.context) from error
    except yaml.YAMLError as error:
        raise _invalid(what, path, "", error) from error
    return {} if values is None else values


def _invalid(what: str, path: Path, where: str, problem: object) -> UserError:
    """The error of a file that is no YAML. where: in it, after a space."""
    sentence = " ".join(str(problem).split())
    return UserError(f"{what[:1].upper()}{what[1:]} {path} is not valid YAML{where}: {sentence}.")


class _Loader(yaml.SafeLoader):
    """Safe loader without aliases and repeated keys, whose errors have the line of the value."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise ComposerError(None, None, "aliases (*name) are not supported", mark)
        return super().compose_node(parent, index)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            problem = f"this is no {node.tag.rpartition(':')[2]}"  # a date without such a day, for example
            raise ConstructorError(None, None, problem, node.start_mark) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    problem = f"the key {key.value} occurs twice"
                    raise ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)
