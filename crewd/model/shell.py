"""Where a command line says `{goal}`, or `{name}` of an input, and how the value gets there without being read as shell. Pure.

A value reaches a command only in a variable of its environment: `{goal}` becomes a reference to `CREWD_GOAL`, quoted as its
place needs. A shell does not read the value of a variable as code, so this is safe in plain text and inside
double quotes. Where a program would read the text again as code (`sh -c "{goal}"`, `eval`, backticks, a here-document, a
script for `awk`), it is refused, and the error shows the form that works. Every other pair of braces is the shell's.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from pathlib import PurePath

from crewd.model.errors import UsageError
from crewd.model.inputs import variable

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
_SHELLS = frozenset({"sh", "ash", "bash", "dash", "fish", "ksh", "mksh", "zsh", "csh", "tcsh"})
"""Those of them whose option `-c` is followed by code, perhaps after values of other options."""
_REREADS = frozenset(
    {"ssh", "watch", "parallel", "rsh", "mosh", "sqlite", "ed", "at", "batch", "make", "gmake", "entr", "watchexec", "tmux"}
)
"""Commands that read any of their arguments again as code."""
_REREADING_BUILTINS = frozenset({"eval", "trap", "alias", "source", ".", "let"})
"""The same, where they are the command itself."""
_SCRIPTED = frozenset({"awk", "gawk", "mawk", "nawk", "sed", "gsed", "jq", "yq", "ed", "xargs", "env", "find"})
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
_WRAPPERS = frozenset(
    {
        "timeout", "nice", "ionice", "flock", "docker", "podman", "nerdctl", "kubectl", "su", "sudo", "doas", "runuser",
        "chroot", "unshare", "nsenter", "setpriv", "stdbuf", "script", "systemd-run", "firejail", "bwrap", "proot", "taskset",
        "chrt", "numactl", "xargs", "busybox", "env", "time", "nohup", "setsid", "sg", "tee", "lxc", "machinectl",
        "fakeroot", "strace",
    }
)  # fmt: skip
"""Commands that start another one, after operands of their own."""
_TAKES_OPTIONS = frozenset(
    {
        "git", "hg", "tar", "bsdtar", "rsync", "scp", "sftp", "sed", "gsed", "sort", "man", "split", "zip", "less", "vim", "vi",
        "view", "emacs", "nvim", "tcpdump", "socat", "ncat", "nc", "dpkg", "rpm", "apt", "apt-get", "7z", "gpg",
    }
)  # fmt: skip
"""Commands that an argument like `--rsh=...` makes execute something: a value may be one of theirs only after `--`."""
_ALREADY_OVER = frozenset({"--", "--end-of-options"})
_DECLARING = frozenset({"export", "declare", "typeset", "readonly", "local"})
"""Builtins for which an argument may be an assignment to any variable."""
_OPTIONS_ANYWHERE = frozenset(
    {
        "flock",
        "su",
        "runuser",
        "script",
        "psql",
        "mysql",
        "sqlite3",
        "vim",
        "emacs",
        "gdb",
        "expect",
        "ghci",
        "scala",
        "sg",
        "julia",
        "osascript",
    }
)
"""Interpreters that take an option with code after other arguments, too."""
_CODE_FOLLOWS = re.compile(r"-(?:c|e|ex|E|eval|iex)|--(?:command|session-command|execute|eval|eval-command)")
_EVALUATING_MODULES = frozenset({"timeit", "pdb", "cProfile", "profile", "trace", "code"})
_STANDARD_INPUT = frozenset({"-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"})
_EXECUTED_BY = {
    "tar": {"-I", "-F"}, "bsdtar": {"-I"}, "rsync": {"-e"}, "scp": {"-o", "-S", "-F"}, "sftp": {"-o", "-S", "-F"},
    "man": {"-P"}, "git": {"-x", "-c", "-O"}, "xterm": {"-e"}, "npx": {"-c"}, "nodemon": {"-x"}, "sg": {"-c"},
    "split": {"--filter"}, "less": {"-k"}, "ncat": {"-e", "-c"}, "nc": {"-e", "-c"}, "zip": {"-TT"},
}  # fmt: skip
"""Options of commands whose value they execute."""
_EXECUTING_NAME = re.compile(
    r"--?[a-z-]*(?:exec|command|program|shell|rsh|pager|editor|eval|rcfile|init-file|hook)[a-z-]*", re.IGNORECASE
)
"""Options that are named like one whose value is executed."""
_BEFORE_COMMANDS = frozenset({"!", "{", "if", "elif", "then", "else", "do", "while", "until", "time"})
_QUANTITY = re.compile(r"[\d.]+[smhd]?")
_PIPE = re.compile(r"(?<!\|)\|&?(?!\|)\s*([^;&|()\n]*)")
"""A pipe, and the words of the command that reads from it."""
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
_EVAL = re.compile(r"(?:\A|[;&|({\n'\"]|\b(?:then|do|else|command|builtin|exec|time|!)\s)\s*eval\b")
"""`eval` where the name of a command stands, or at the beginning of a text that may be one."""
_INDIRECT = re.compile(r"\s-[A-Za-z]*c[A-Za-z]*\s+[\"']?\$\{?(?:\w|[@*#])")
"""Code that is the value of a variable: it may have got there from any other place of the line."""
_ASSIGNED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\+?=")
_CODE_OPTION = re.compile(
    r"-[A-Za-z]*[ceErRp][A-Za-z]*|--(?:eval|execute|exec|command|expression|print|run|code|init-command|split-string)"
)
_CODE_OPTION_AND_TEXT = re.compile(
    r"-[A-Za-z]*[ceErRp].*|--(?:eval|execute|exec|command|expression|print|run|code)=.*", re.DOTALL
)
_MORE_OPTIONS = re.compile(r"[-+][A-Za-z]*[oO][A-Za-z]*")
"""An option of a shell that has a value of its own, which could be taken for the code."""
_EXECUTED_VARIABLE = re.compile(
    r"(?:GIT_\w+|BASH_ENV|ENV|PROMPT_COMMAND|PS[0-4]|IFS|PATH|SHELL|EDITOR|VISUAL|PAGER|MANPAGER|BROWSER|LESSOPEN|LESSCLOSE"
    r"|MAKEFLAGS|LD_\w+|DYLD_\w+|PERL5\w+|PYTHON\w+|RUBY\w+|NODE_OPTIONS|JAVA_TOOL_OPTIONS|\w*_COMMAND|\w+_PAGER|\w+_EDITOR)\+?="
)
"""Variables that programs execute, or load code from."""
_EXECUTING_OPTIONS = frozenset(
    {
        "-exec", "-execdir", "-ok", "-okdir", "--to-command", "--checkpoint-action", "--use-compress-program", "--rsh",
        "--rsh-command", "--upload-pack", "--receive-pack", "--exec-path", "--pager", "--config-env", "--ssh-command",
    }
)  # fmt: skip
_EXECUTING_OPTION_AND_TEXT = re.compile(
    r"--(?:to-command|checkpoint-action|use-compress-program|rsh|rsh-command|upload-pack|receive-pack|exec-path|pager|config)="
)
_AWKS = frozenset({"awk", "gawk", "mawk", "nawk"})
_AWK_VALUES = frozenset({"-F", "-v", "-f", "-i", "-l", "-e", "-E", "-D"})
"""Options of awk that are followed by a value."""
_SCRIPT_OPTIONS = frozenset({"-e", "-f", "-E", "--expression", "--file", "--source", "--from-file"})
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
        self.herestring = False
        self.target = False
        """Whether the next word is the file of a redirection, and no word of the command."""
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
        elif self.text.startswith("\\\n", self.at):
            self._take(2, word=False)  # the shell joins the lines
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
        elif context == "arithmetic" and here == "(":
            self.contexts.append("arithmetic")
            self._take()
        elif context == "arithmetic" and here == ")":
            self.contexts.pop()
            self._take()
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
                self.contexts += [context] * opening.count("(") or [context]
                self._take(len(opening))
                return
        if self.text.startswith("$(", self.at):
            self._substitute()
            return
        if self.text.startswith("$'", self.at) and self.contexts[-1] == "plain":
            self.contexts.append("single")
            self._take(2)
            return
        self._take()

    def _substitute(self) -> None:
        """`$(`, `<(` or `>(`: a command inside a word of another one."""
        self.contexts.append("plain")
        self.words.append([])
        self.outer.append(self.word + "$(")
        self.word = ""
        self._take(2, word=False)

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
        elif self.text.startswith(("<(", ">("), self.at):
            self.has_operator = True
            self._substitute()
        elif here in "<>":
            if self.word.isdigit():
                self.word = ""  # the number of a descriptor
            self._end_word()
            self.target = True
            operator = next(each for each in _REDIRECTIONS if self.text.startswith(each, self.at))
            self.heredoc = self.heredoc or operator == "<<"
            self.herestring = self.herestring or operator == "<<<"
            self._take(len(operator), word=False)
        else:
            self._take()

    def _end_word(self) -> None:
        if self.word and not self.target:
            self.words[-1].append(self.word)
        self.target = self.target and not self.word
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
        return UsageError(f"{self.hole} stands {where}", hint=hint, row=self.text.count("\n", 0, self.at) + 1)

    def _check_reader(self) -> None:
        """Whether whatever gets this word takes it as it is. Raises UsageError if it would read it as code."""
        if _EVAL.search(self.text):
            raise self._refused("in a line with eval, which may read it as code")
        if _INDIRECT.search(self.text):
            raise self._refused("in a line that runs the value of a variable as code")
        if not self.target:
            self._check_command(self.words[-1], self.word, whole=self._is_whole())
        for words, word in zip(self.words[:-1], self.outer, strict=True):  # what a `$(` says is a word of the command around it
            if words or not _ASSIGNMENT.match(word):
                self._check_command(words, word, whole=False, inside=True)
        for name in [] if self.target else [found[1]] if (found := _ASSIGNED.match(self.word)) else []:
            used = rf"(?:-[A-Za-z]*[ceE][A-Za-z]*|--[a-z-]*(?:eval|exec|command)[a-z-]*)[\s=]+[\"']?\$\{{?{name}\b"
            if re.search(used, self.text[self.at :]):
                raise self._refused(f"in {name}, which is read as code")
        piped = [found[1].split() for found in _PIPE.finditer(self.text, self.at)]
        if piped:
            rest = self.text[self.text.index("|", self.at) + 1 :]
            piped += [piece.split() for piece in re.split(r"[;&|(){}\n]|\b(?:if|then|do|else|elif|while|until)\b", rest)]
        if self.herestring:
            piped += [re.split(r"[\s;&|()]+", self.text)]
        for words in piped:
            if _runs_its_input([_bare(word) for word in words], anywhere=self.herestring):
                raise self._refused("before a pipe into a program that reads it as code")

    def _check_command(self, before: list[str], word: str, *, whole: bool, inside: bool = False) -> None:
        if _EXECUTED_VARIABLE.match(word):
            raise self._refused(f"in the variable {word.partition('=')[0]}, whose value programs execute")
        words = [_bare(each) for each in before if not _ASSIGNMENT.match(each)]
        while words and words[0] in _BEFORE_COMMANDS:
            words = words[1:]
        if not words and _ASSIGNMENT.match(word):
            return
        arguments = [w for w in words if not (w.startswith("-") or _program(w) in _STARTERS or _QUANTITY.fullmatch(w))]
        if not words or (_program(words[0]) in _STARTERS and not arguments):
            raise self._refused("where the name of a command stands", "name the program, and give it the goal as an argument")
        names = {_program(each) for each in words}
        self._check_options(words, names, _bare(word), whole=whole)
        if words[0] in _DECLARING and not _ASSIGNMENT.match(word):
            raise self._refused(f"where {words[0]} takes any assignment", f"name the variable: {words[0]} NAME={self.hole}")
        if "find" in names and not (words[-1].startswith("-") or _bare(word)):
            raise self._refused("where find looks for options", f"use find -name {self.hole}, or cd -- {self.hole} && find .")
        if names & _OPTIONS_ANYWHERE and _CODE_FOLLOWS.fullmatch(words[-1]):
            raise self._refused(f"in code for {min(names & _OPTIONS_ANYWHERE)}")
        rereads = sorted((names & _REREADS) | ({words[0]} & _REREADING_BUILTINS))
        if rereads:
            raise self._refused(f"among the arguments of {rereads[0]}, which reads them again as code")
        scripted = sorted(names & _SCRIPTED)
        assigned = bool(names & _AWKS) and words[-1] == "-v"
        if scripted and not assigned and not (whole and _has_script(words, names)):
            raise self._refused(f"inside a script for {scripted[0]}", f"let the script read {self.variable}")
        if "git" in names and ({"foreach"} & set(words) or ("bisect" in words and "run" in words)):
            raise self._refused("among the arguments of git, which runs them as a command")
        interpreter = next((each for each in reversed(words) if _program(each) in _INTERPRETERS or "$" in each), None)
        if interpreter is not None:
            options = words[len(words) - words[::-1].index(interpreter) :]
            command = arguments[0] if arguments else words[0]
            is_it = interpreter == command or _program(words[0]) in _WRAPPERS
            if is_it and _is_script(_program(interpreter), options) and not inside and word in {"", '"'}:
                how = f'{interpreter} -- "{self.hole}" runs the file of that name'
                raise self._refused(f"where {_program(interpreter)} looks for options and its script", how)
            if _is_code(_program(interpreter), options, _bare(word)) or (inside and word.startswith("$(") and not options):
                way = f"let the code read ${self.variable}, as in sh -c 'echo \"${self.variable}\"'"
                raise self._refused(f"in code for {_program(interpreter)}", way)

    def _check_options(self, words: list[str], names: set[str], word: str, *, whole: bool) -> None:
        """Whether it is the value of an option that names a command, or may be such an option itself."""
        option, _, _ = word.partition("=")
        for name in names:
            short = _EXECUTED_BY.get(name, set())
            if words[-1] in short or any(word.startswith(each) for each in short if word):
                raise self._refused("in an option that names a command")
        executing = words[-1] in _EXECUTING_OPTIONS or _EXECUTING_OPTION_AND_TEXT.match(word)
        if executing or _EXECUTING_NAME.fullmatch(words[-1]) or ("=" in word and _EXECUTING_NAME.fullmatch(option)):
            raise self._refused("in an option that names a command")
        if re.match(r"(?:EXEC|SYSTEM|SHELL):", word, re.IGNORECASE):
            raise self._refused("in an address that names a command")
        first = next((_program(each) for each in words if _program(each) not in _STARTERS and not each.startswith("-")), "")
        option_value = words[-1].startswith("-") and words[-1] not in _ALREADY_OVER
        if first in _TAKES_OPTIONS and whole and not option_value and not _ALREADY_OVER & set(words):
            raise self._refused(f"where {first} looks for options", f"put -- before it: -- {self.hole}")

    def _is_whole(self) -> bool:
        """Whether the placeholder is an argument of its own, with or without double quotes."""
        after = self.at + len(self.hole)
        following = self.text[after : after + 1]
        if self.contexts[-1] == "double":
            return self.word == '"' and self.text[after : after + 1] == '"' and self.text[after + 1 : after + 2] in _ENDS
        return self.word == "" and following in _ENDS


_REDIRECTIONS = ("<<<", "<<", "<&", "<>", ">&", ">|", ">>", "<", ">")
_ENDS = ("", " ", "\t", "\n", ";", "|", "&", ")", "<", ">")


def _has_script(words: list[str], names: set[str]) -> bool:
    """Whether the script of a program that needs one stands before this place, so that what follows is data."""
    if not names & _SCRIPT_FIRST:
        return True
    if words[-1] in _SCRIPT_OPTIONS or words[-1] in (_AWK_VALUES if names & _AWKS else ()):
        return words[-1] in {"-F", "-v"}
    at = next(place for place, word in enumerate(words) if _program(word) in _SCRIPT_FIRST)
    found, skip = False, False
    for word in words[at + 1 :]:
        found = found or word in _SCRIPT_OPTIONS or not (skip or word.startswith("-"))
        skip = bool(names & _AWKS) and word in _AWK_VALUES
    return found


def _walk(program: str, options: list[str]) -> str:
    """What an interpreter takes the next word for, after these: `code`, `option` (or its script), `value` or `argument`."""
    shell = program in _SHELLS or "$" in program
    pending = ""
    code = False
    for at, option in enumerate(options):
        if pending:
            if pending == "module":
                return "code" if option in _EVALUATING_MODULES else "argument"
            if pending == "code" and (option == "--" or (shell and option.startswith(("-", "+")))):
                continue  # its code comes after the other options
            if pending == "value then code":
                pending = "code"
                continue
            code, pending = code or pending == "code", ""
        elif code and not shell and option.startswith("-") and _CODE_OPTION.fullmatch(option):
            pending = "code"  # perl takes several
        elif option == "--":
            return "argument"
        elif program.startswith(("python", "pypy")) and option.startswith("-m"):
            if option == "-m":
                pending = "module"
            else:
                return "code" if option[2:] in _EVALUATING_MODULES else "argument"
        elif _CODE_OPTION.fullmatch(option):
            pending = "value then code" if shell and _MORE_OPTIONS.fullmatch(option) else "code"
        elif (shell and _MORE_OPTIONS.fullmatch(option)) or (program.startswith(("python", "pypy")) and option in {"-W", "-X"}):
            pending = "value"
        elif not option.startswith(("-", "+")):
            return "argument"
        if code and shell:
            return "argument" if at < len(options) else "code"
    if pending:
        return {"code": "code", "module": "option"}.get(pending, "value")
    return "argument" if code else "option"


def _is_code(program: str, options: list[str], word: str) -> bool:
    """Whether the next word of an interpreter's command, which begins with `word`, is code. `options` are the words between."""
    meant = _walk(program, options)
    return meant == "code" or (meant in {"option", "value"} and bool(_CODE_OPTION_AND_TEXT.fullmatch(word)))


def _is_script(program: str, options: list[str]) -> bool:
    """Whether the next word may be an option of the interpreter, or names its script."""
    return _walk(program, options) == "option"


def _runs_its_input(words: list[str], *, anywhere: bool = False) -> bool:
    """Whether a command reads code from its standard input, as far as its words show."""
    wrapped = bool(words) and _program(words[0]) in _WRAPPERS
    for place, word in enumerate(words):
        name = _program(word)
        if name in _REREADS or (name == "xargs" and any(_program(each) in _INTERPRETERS for each in words[place + 1 :])):
            return True
        if name in _INTERPRETERS or ("$" in word and place == 0):
            after = words[place + 1 :]
            script = bool(after) and after[0] not in _STANDARD_INPUT and not after[0].startswith(("-", "<", ">", "2>", "&"))
            code = any(_CODE_OPTION.fullmatch(each) and len(after) > at + 1 for at, each in enumerate(after) if each != "-e")
            if not (script or code) or name in {"psql", "mysql", "su", "runuser"}:
                return True
        if not anywhere and not wrapped and name not in _STARTERS and not word.startswith("-") and not _ASSIGNMENT.match(word):
            return False
    return False


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


def near_names(line: str, names: Collection[str]) -> dict[str, str]:
    """Each `{word}` of a command line that is none of these names, and looks like one of them misspelt, with that one."""
    words = [word for word in re.findall(r"(?<!\$)\{([A-Za-z_][\w-]*)\}", line) if word not in names]
    near = {word: difflib.get_close_matches(word, names, 1, 0.75) for word in words}
    return {word: found[0] for word, found in near.items() if found}


def unset_names(line: str, names: Collection[str]) -> dict[str, str]:
    """Each `$NAME` and `${NAME}` of a command line that is one of these names and that the line does not set, with the name."""
    used = {found[0]: found[1] or found[2] for found in re.finditer(r"\$(?:\{(\w+)\}|(\w+))", line)}
    set_here = r"(?:\b{0}\+?=|\bfor\s+{0}\b|\bread\b[^;&|\n]*\b{0}\b)"
    return {word: name for word, name in used.items() if name in names and not re.search(set_here.format(name), line)}


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
