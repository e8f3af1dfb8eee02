"""Where a command line says `{goal}`, or `{name}` of an input, and how the value gets there without being read as shell. Pure.

A value reaches a command only in a variable of its environment: `{goal}` becomes a reference to `CREWD_GOAL`, quoted as its
place needs. A shell does not read the value of a variable as code, so this is safe in plain text and inside
double quotes. Where a program would read the text again as code (`sh -c "{goal}"`, `eval`, backticks, a here-document, a
script for `awk`), it is refused, and the error shows the form that works. Every other pair of braces is the shell's.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import PurePath

from crewd.protocol.errors import UsageError
from crewd.protocol.inputs import variable

_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_INTERPRETERS = frozenset(
    {
        "sh", "ash", "bash", "dash", "fish", "ksh", "mksh", "zsh", "csh", "tcsh", "busybox", "python", "pypy", "perl",
        "ruby", "node", "nodejs", "deno", "bun", "php", "lua", "luajit", "tclsh", "expect", "Rscript", "R", "osascript", "pwsh",
        "julia", "psql", "mysql", "sqlite3", "su", "runuser", "script", "flock", "ghci", "scala", "groovy", "guile", "emacs",
        "vim", "gdb",
    }
)  # fmt: skip
"""Programs that run the text after an option such as `-c` or `-e`."""
_REREADS = frozenset({"eval", "ssh", "watch", "parallel", "rsh", "mosh"})
"""Commands that read any of their arguments again as code."""
_REREADING_BUILTINS = frozenset({"trap", "alias", "source", ".", "let"})
"""The same, where they are the command itself."""
_SCRIPTED = frozenset({"awk", "gawk", "mawk", "nawk", "sed", "gsed", "jq", "yq", "make", "ed", "xargs", "env", "find"})
"""Commands of which an argument is a little program: the goal may be a whole argument, and no part of one."""
_SCRIPT_FIRST = frozenset({"awk", "gawk", "mawk", "nawk", "sed", "gsed", "jq", "yq"})
"""Those of which the first argument that is no option is that program."""
_STARTERS = frozenset(
    {
        "env", "xargs", "exec", "command", "builtin", "nohup", "nice", "ionice", "setsid", "stdbuf", "sudo", "doas", "time",
        "chronic", "unbuffer", "caffeinate", "strace", "ltrace", "gdb", "valgrind", "systemd-run", "unshare", "chroot",
        "timeout", "busybox",
    }
)  # fmt: skip
"""Commands that start the command that follows them."""
_BEFORE_COMMANDS = frozenset({"!", "{", "if", "elif", "then", "else", "do", "while", "until", "time"})
_QUANTITY = re.compile(r"[\d.]+[smhd]?")
_PIPED_TO_SHELL = re.compile(r"\|\s*(?:(?:sudo|env|exec)\s+)*(?:\S*/)?(?:ba|da|z|k|a|fi)?sh\s*(?:-s?\s*)?(?=[;&|)\n]|\s*$)")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
_CODE_OPTION = re.compile(
    r"-[A-Za-z]*[ceErR]|--(?:eval|execute|exec|command|expression|print|run|code|init-command|split-string)"
)
_CODE_OPTION_AND_TEXT = re.compile(r"-[A-Za-z]*[ceE].*|--(?:eval|execute|exec|command|expression|print|run|code)=.*", re.DOTALL)
_VERSIONED = re.compile(r"(.*?)[\d.]+\Z")
_RESERVED = frozenset(
    {
        "!", "{", "}", "case", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if", "in", "select", "then",
        "time", "until", "while", "[[", "]]", "coproc",
        # builtins, which `exec` cannot start or would change
        "[", ".", ":", "alias", "bg", "break", "cd", "command", "continue", "echo", "eval", "exec", "exit", "export", "false",
        "fg", "getopts", "hash", "jobs", "kill", "local", "let", "newgrp", "printf", "pwd", "read", "readonly", "return", "set",
        "shift", "source", "test", "times", "trap", "true", "type", "ulimit", "umask", "unalias", "unset", "wait", "declare",
        "typeset", "pushd", "popd", "dirs", "shopt", "enable", "builtin", "caller", "disown", "suspend", "logout", "history",
    }
)  # fmt: skip
_PLAIN_COMMAND = re.compile(r"[A-Za-z0-9_./+-]+\Z")


class _Line:
    """A walk through a command line that knows what the shell would make of each character."""

    def __init__(self, text: str, names: Collection[str]) -> None:
        self.text = text
        self.names = names
        self.hole = ""
        self.variable = ""
        self.out: list[str] = []
        self.at = 0
        self.contexts = ["plain"]
        self.words: list[list[str]] = [[]]
        """The words before this place of the simple command that it is in; one list per `$(`."""
        self.word = ""
        self.outer: list[str] = []
        """The beginnings of the words that a `$(` interrupts."""
        self.comment = False
        self.heredoc = False
        self.has_operator = False

    def walk(self) -> str:
        """The command line with each placeholder replaced. Raises UsageError."""
        while self.at < len(self.text):
            found = _PLACEHOLDER.match(self.text, self.at)
            if found is not None and found[1] in self.names:
                self.hole, self.variable = found[0], variable(found[1])
                self._place()
                continue
            self._step()
        return "".join(self.out)

    def _take(self, count: int = 1, *, word: bool = True) -> None:
        piece = self.text[self.at : self.at + count]
        self.out.append(piece)
        if word:
            self.word += piece
        self.at += count

    def _step(self) -> None:
        here, context = self.text[self.at], self.contexts[-1]
        if self.comment:
            self.comment = here != "\n"
            self._take(word=False)
        elif context == "single":
            if here == "'":
                self.contexts.pop()
            self._take()
        elif here == "\\":
            self._take(2)
        elif here == "`":
            self._toggle("backtick")
        elif here == "$":
            self._dollar()
        elif here == '"':
            self._toggle("double")
        elif context == "brace" and here == "}":
            self.contexts.pop()
            self._take()
        elif context == "arithmetic" and self.text.startswith("))", self.at):
            self.contexts.pop()
            self._take(2)
        elif context in {"double", "brace", "arithmetic"}:
            self._take()
        elif here == "'":
            self.contexts.append("single")
            self._take()
        else:
            self._plain(here)

    def _toggle(self, context: str) -> None:
        if self.contexts[-1] == context:
            self.contexts.pop()
        else:
            self.contexts.append(context)
        self._take()

    def _dollar(self) -> None:
        for opening, context in (("$((", "arithmetic"), ("${", "brace")):
            if self.text.startswith(opening, self.at):
                self.contexts.append(context)
                self._take(len(opening))
                return
        if self.text.startswith("$(", self.at):
            self.contexts.append("plain")
            self.words.append([])
            self.outer.append(self.word + "$(")
            self.word = ""
            self._take(2, word=False)
            return
        if self.text.startswith("$'", self.at) and self.contexts[-1] == "plain":
            self.contexts.append("single")
            self._take(2)
            return
        self._take()

    def _plain(self, here: str) -> None:
        if here == "#" and not self.word:
            self.comment = True
            self._take(word=False)
        elif here.isspace():
            self._end_word()
            if here == "\n":
                self._end_command()
            self._take(word=False)
        elif here in ";|&()":
            self._end_word()
            self._end_command()
            self.has_operator = True
            if here == ")" and self.outer and self.contexts[-1] == "plain":
                self.contexts.pop()
                self.words.pop()
                self.word = self.outer.pop()
            self._take(word=False)
        elif here in "<>":
            self._end_word()
            operator = next(each for each in _REDIRECTIONS if self.text.startswith(each, self.at))
            self.heredoc = self.heredoc or operator == "<<"
            self._take(len(operator), word=False)
        else:
            self._take()

    def _end_word(self) -> None:
        if self.word:
            self.words[-1].append(self.word)
        self.word = ""

    def _end_command(self) -> None:
        self.words[-1] = []

    def _place(self) -> None:
        context = self.contexts[-1]
        if self.comment:
            self._take(len(self.hole), word=False)
            return
        if "backtick" in self.contexts:
            raise self._refused("in backticks", f'use $(... "${self.variable}")')
        if context == "single":
            raise self._refused("in single quotes")
        if "arithmetic" in self.contexts or "brace" in self.contexts:
            raise self._refused("in an expansion, where the shell would evaluate it")
        if self.heredoc:
            raise self._refused("after a here-document")
        self._check_reader()
        self.out.append(f"${{{self.variable}}}" if context == "double" else f'"${{{self.variable}}}"')
        self.word += self.hole
        self.at += len(self.hole)

    def _refused(self, where: str, hint: str = "") -> UsageError:
        hint = hint or f'use "${self.variable}", which the command finds in its environment'
        return UsageError(f"{self.hole} stands {where}", hint=hint)

    def _check_reader(self) -> None:
        """Whether whatever gets this word takes it as it is. Raises UsageError if it would read it as code."""
        words = [_bare(word) for word in self.words[-1] if not _ASSIGNMENT.match(word)]
        while words and words[0] in _BEFORE_COMMANDS:
            words = words[1:]
        if not words and _ASSIGNMENT.match(self.word):
            return
        arguments = [w for w in words if not (w.startswith("-") or _program(w) in _STARTERS or _QUANTITY.fullmatch(w))]
        if not words or (_program(words[0]) in _STARTERS and not arguments):
            raise self._refused("where the name of a command stands", "name the program, and give it the goal as an argument")
        names = {_program(word) for word in words}
        rereads = sorted((names & _REREADS) | ({words[0]} & _REREADING_BUILTINS))
        if rereads:
            raise self._refused(f"among the arguments of {rereads[0]}, which reads them again as code")
        scripted = sorted(names & _SCRIPTED)
        if scripted and not (self._is_whole() and (not names & _SCRIPT_FIRST or len(arguments) > 1)):
            raise self._refused(f"inside a script for {scripted[0]}", f"let the script read {self.variable}")
        interpreters = sorted(names & _INTERPRETERS)
        if interpreters and (_CODE_OPTION.fullmatch(words[-1]) or _CODE_OPTION_AND_TEXT.fullmatch(_bare(self.word))):
            way = f"let the code read ${self.variable}, as in sh -c 'echo \"${self.variable}\"'"
            raise self._refused(f"in code for {interpreters[0]}", way)
        if _PIPED_TO_SHELL.search(self.text, self.at):
            raise self._refused("before a pipe into a shell, which reads it as code")

    def _is_whole(self) -> bool:
        """Whether the placeholder is an argument of its own, with or without double quotes."""
        after = self.at + len(self.hole)
        following = self.text[after : after + 1]
        if self.contexts[-1] == "double":
            return self.word == '"' and self.text[after : after + 1] == '"' and self.text[after + 1 : after + 2] in _ENDS
        return self.word == "" and following in _ENDS


_REDIRECTIONS = ("<<<", "<<", "<&", "<>", ">&", ">|", ">>", "<", ">")
_ENDS = ("", " ", "\t", "\n", ";", "|", "&", ")", "<", ">")


def _bare(word: str) -> str:
    return word.replace('"', "").replace("'", "").replace("\\", "")


def _program(word: str) -> str:
    """The name by which a program is known: without its path and version."""
    name = PurePath(word).name or word
    versioned = _VERSIONED.match(name)
    return versioned[1] if versioned and versioned[1] else name


def place_values(line: str, names: Collection[str]) -> str:
    """The command line with each `{name}` as a reference to its variable. UsageError where that would not be safe."""
    return _Line(line, names).walk() if "{" in line else line


def with_exec(line: str) -> str:
    """The command line with `exec` before it, if it is a single simple command: then no shell stands between it and a signal.

    Builtins, assignments, lists, pipelines, groups, redirections of unusual kinds and several lines are left as they are.
    """
    text = line.strip()
    walk = _Line(text, ())
    walk.walk()
    if (
        walk.has_operator
        or walk.heredoc
        or len(walk.contexts) != 1
        or "\n" in text
        or "`" in text
        or "#" in text
        or "$(" in text
    ):
        return line
    first = text.split(maxsplit=1)[0] if text else ""
    if not _PLAIN_COMMAND.match(first) or first in _RESERVED:
        return line
    return f"exec {text}"
