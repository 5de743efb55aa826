#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Write the man page and the completions of bash, zsh and fish from what the program says of its options.

usage: make_man.py [--check] PROGRAM [FOLDER]

Asks PROGRAM for the --help of every command and writes FOLDER/man/lever.1 and FOLDER/completion/*
(FOLDER: share/ of the source tree). Exit codes and environment come from docs/cli.md.
--check writes nothing: exit code 1 when a file is not what it would write.
"""

import argparse
import collections
import pathlib
import re
import subprocess
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parents[1]
HELP_COLUMN = 30  # where options_help (apps/lever/options.c) begins the text of an option
COMMON = 2  # options that so many commands have with the same words are told once

Option = collections.namedtuple("Option", "names arg help")
Command = collections.namedtuple("Command", "name summary usage intro groups")


class Unreadable(Exception):
    """A help page that is not written as options_help does it."""


# ---------------------------------------------------------------- what the program says


def ask(program, *args):
    run = subprocess.run([program, *args], capture_output=True, text=True, timeout=60)
    if run.returncode:
        raise Unreadable(f"'{' '.join([program, *args])}' ended with {run.returncode}: {run.stderr.strip()}")
    return run.stdout.rstrip("\n").split("\n")


def parse_option(line):
    """'  -m, --model FILE            text'; the text may begin on the next line."""
    left, text = line[2:HELP_COLUMN].rstrip(), line[HELP_COLUMN:]
    if len(line) > HELP_COLUMN and line[HELP_COLUMN - 1] != " " or len(line) <= HELP_COLUMN:
        left, text = line[2:].rstrip(), ""
    m = re.fullmatch(r"(-[^ ,]+(?:, -[^ ,]+)*)(?: ([^- ].*))?", left)
    if not m:
        raise Unreadable(f"not an option: '{line}'")
    return Option(m[1].split(", "), m[2], [text.rstrip()] if text else [])


def parse_page(name, summary, lines):
    if not lines[0].startswith(f"usage: lever {name}"):
        raise Unreadable(f"the help of {name} begins with '{lines[0]}'")
    usage, intro, groups, at = lines[0][len("usage: ") :], [], [], 1
    while at < len(lines) and not lines[at].startswith("  -"):
        intro.append(lines[at])
        at += 1
    heading = ""
    if at < len(lines) and len(intro) > 1 and intro[-1] and not intro[-2] and not intro[-1].endswith("."):
        heading = intro.pop()
    groups.append((heading, []))
    for line in lines[at:]:
        if line.startswith("  -"):
            groups[-1][1].append(parse_option(line))
        elif line.startswith(" " * HELP_COLUMN) and groups[-1][1]:
            groups[-1][1][-1].help.append(line[HELP_COLUMN:].rstrip())
        elif line and not line.startswith(" "):
            groups.append((line, []))
        elif line:
            raise Unreadable(f"the help of {name} has '{line}' among its options")
    return Command(name, summary, usage, "\n".join(intro).strip("\n"), [g for g in groups if g[1]])


def read_program(program):
    """(first line, version, [Command], text behind the list)"""
    lines = ask(program, "--help")
    listed = [m for m in (re.fullmatch(r"  (\w[\w-]*) +(\S.*)", x) for x in lines) if m]
    if not listed or "lever: " not in lines[0]:
        raise Unreadable("the main help lists no commands")
    last = max(i for i, x in enumerate(lines) if re.match(r"  \w", x))
    commands = []
    for m in listed:
        if m[1] in ("help", "version"):
            commands.append(Command(m[1], m[2], f"lever {m[1]}", "", []))
        else:
            commands.append(parse_page(m[1], m[2], ask(program, m[1], "--help")))
    version = ask(program, "version")[0].split()[1]
    return lines[0].split(": ", 1)[1], version, commands, "\n".join(lines[last + 1 :]).strip("\n")


# ---------------------------------------------------------------- man page


def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    text = text.replace("^", "\\(ha").replace("~", "\\(ti")
    text = re.sub(r",(?=[^ ,]+=)", r",\\:", text)  # a=1,b=2,...: lines may break here
    return re.sub(r"^\.", r"\\&.", text, flags=re.M)


def roff_paragraphs(text):
    """Lines that are indented keep their form; 'WORD  text' is a tag and its text."""
    out = []
    for paragraph in re.split(r"\n\n+", text):
        lines = paragraph.split("\n")
        tag = re.match(r"(\S+) {2,}(\S.*)", lines[0])
        if tag:
            out += [".TP", f".I {roff(tag[1])}", *(roff(x.strip()) for x in [tag[2], *lines[1:]])]
            continue
        out.append(".PP")
        for indented, part in split_by(lines, lambda x: x.startswith((" ", "example:"))):
            if indented:
                out += [".RS 2", ".nf", *(roff(x) for x in part), ".fi", ".RE"]
            else:
                out += [roff(x) for x in part]
    return out


def split_by(items, key):
    out = []
    for item in items:
        if not out or out[-1][0] != key(item):
            out.append((key(item), []))
        out[-1][1].append(item)
    return out


def roff_option(o):
    names = ", ".join(f"\\fB{roff(n)}\\fR" for n in o.names)
    return [".TP", names + (f" \\fI{roff(o.arg)}\\fR" if o.arg else ""), *(roff(x) for x in o.help)]


def identity(o):
    return tuple(o.names), o.arg, tuple(o.help)


def common_groups(commands):
    """Groups of options that at least COMMON commands have, in the order of their first appearance."""
    count = collections.Counter(identity(o) for c in commands for _, options in c.groups for o in options)
    groups, seen = {}, set()
    for c in commands:
        for heading, options in c.groups:
            for o in options:
                if count[identity(o)] >= COMMON and identity(o) not in seen and "--help" not in o.names:
                    seen.add(identity(o))
                    groups.setdefault(heading, []).append(o)
    return groups, seen


def roff_command(c, common):
    out = [f".SS lever {roff(c.name)}", f"{roff(c.summary[0].upper() + c.summary[1:])}."]
    out += [".PP", f".B {roff(c.usage)}"]
    if c.intro:
        out += roff_paragraphs(c.intro)
    shared = []
    for heading, options in c.groups:
        own = [o for o in options if identity(o) not in common and "--help" not in o.names]
        shared += [o for o in options if identity(o) in common]
        if own:
            out += [".PP", f"{roff(heading[0].upper() + heading[1:] if heading else 'Options')}:"]
            for o in own:
                out += roff_option(o)
    if shared:
        names = ", ".join(f"\\fB{roff(o.names[-1])}\\fR" for o in shared)
        out += [".PP", "Common options it takes:", names + "."]
    return out


def roff_plain(c):
    """A command without a help page of its own."""
    text = c.summary.replace("this page", "lists the commands")
    return [f".SS lever {roff(c.name)}", roff(text[0].upper() + text[1:]) + "."]


def markdown_text(text):
    """Inline Markdown of docs/cli.md as roff."""
    out = []
    for i, part in enumerate(text.split("`")):
        part = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", part).replace("**", "")
        out.append(f"\\fB{roff(part)}\\fR" if i % 2 else roff(part))
    return "".join(out)


def section_of(document, title):
    m = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", document, re.S | re.M)
    if not m:
        raise Unreadable(f"docs/cli.md has no section '{title}'")
    return m[1].strip()


def roff_exit_codes(document):
    out = []
    for m in re.finditer(r"^\| (\d+) \| (.*) \|$", section_of(document, "Exit codes"), re.M):
        out += [".TP", f".B {m[1]}", markdown_text(m[2])]
    if not out:
        raise Unreadable("docs/cli.md has no table of exit codes")
    return out


def roff_environment(document):
    out = []
    for item in re.split(r"^- ", section_of(document, "Environment"), flags=re.M)[1:]:
        out += [".PP", markdown_text(" ".join(item.split()))]
    return out


def man_page(title, version, commands, rest):
    document = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    groups, common = common_groups(commands)
    out = ['.\\" Written by tools/make_man.py (make man) from the help. SPDX-License-Identifier: MIT']
    out += [
        f'.TH LEVER 1 "" "lever {version}" "User Commands"',
        ".ad l",
        ".nh",
        ".SH NAME",
        f"lever \\- {roff(title)}",
    ]
    out += [
        ".SH SYNOPSIS",
        ".B lever",
        ".I COMMAND",
        "[options]",
        ".SH DESCRIPTION",
        *roff_paragraphs(rest)[1:],
    ]
    out.append(".SH COMMANDS")
    for c in commands:
        out += roff_command(c, common) if c.groups or c.intro else roff_plain(c)
    out += [
        ".SH COMMON OPTIONS",
        "Commands name those they take. A value may also follow with an equals sign:",
    ]
    out += ["\\fB\\-\\-mem=3GiB\\fR. Behind \\fB\\-\\-\\fR nothing is an option."]
    for heading, options in groups.items():
        out += [f".SS {roff(heading[0].upper() + heading[1:])}"] + [
            x for o in options for x in roff_option(o)
        ]
    out += [".SH EXIT STATUS", *roff_exit_codes(document), ".SH ENVIRONMENT", *roff_environment(document)[1:]]
    return "\n".join(out) + "\n"


# ---------------------------------------------------------------- completion


def kind(o):
    """flag, files, folders or value: what may stand behind an option."""
    if not o.arg:
        return "flag"
    if re.search(r"\b(FILES?|PATH|DEVICE)\b", o.arg):
        return "files"
    return "folders" if re.search(r"\bDIR\b", o.arg) else "value"


def takes_files(c):
    """Does the command take names of files without an option?"""
    positional = re.sub(r"\[[^]]*\]|-+[\w-]+ [A-Z]+", "", c.usage)
    return bool(re.search(r"\.gguf|\bFILE", positional))


def options_of(c):
    return [o for _, options in c.groups for o in options]


def names_of(c, *kinds):
    return [n for o in options_of(c) if kind(o) in kinds for n in o.names]


def brief(o):
    """One short line about an option."""
    text = " ".join(" ".join(o.help).split())
    text = re.split(r"; |\. (?=[A-Z])|: (?=[a-z0-9]+[,:])", text)[0]
    if text.count("(") > text.count(")"):
        text = text[: text.rindex("(")]
    return textwrap.shorten(text.rstrip(" .:,"), 90, placeholder=" ...")


def bash_completion(commands):
    cases = []
    for c in commands:
        if not c.groups and not takes_files(c):
            continue
        cases += [f"        {c.name})"]
        for variable, names in [
            ("flags", names_of(c, "flag")),
            ("files", names_of(c, "files")),
            ("folders", names_of(c, "folders")),
            ("values", names_of(c, "value")),
        ]:
            if names:
                cases += [f"            {variable}='{' '.join(names)}'"]
        cases += ["            plain=files" if takes_files(c) else "            plain=", "            ;;"]
    return BASH.replace("@commands@", " ".join(c.name for c in commands)).replace("@cases@", "\n".join(cases))


BASH = r"""# bash completion of lever; written by tools/make_man.py (make man). SPDX-License-Identifier: MIT
_lever()
{
    local IFS=$' \t\n' cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local flags='' files='' folders='' values='' plain='' i
    COMPREPLY=()
    if [[ $COMP_CWORD -eq 1 ]]; then
        COMPREPLY=($(compgen -W '@commands@' -- "$cur"))
        return
    fi
    case ${COMP_WORDS[1]} in
@cases@
    esac
    # "--name=value" comes as three words
    if [[ $cur == = ]]; then
        cur=''
    elif [[ $prev == = && $COMP_CWORD -gt 2 ]]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    for ((i = 2; i < COMP_CWORD; i++)); do # behind "--" nothing is an option
        if [[ ${COMP_WORDS[i]} == -- ]]; then
            flags='' files='' folders='' values='' prev=''
        fi
    done
    local taken=" $folders $values " # options with a value that is no file
    [[ $plain == files && $cur != -* && $taken != *" $prev "* ]] && files="$files $prev"
    if [[ " $files " == *" $prev "* || -z $prev ]]; then
        compopt -o filenames 2>/dev/null
        IFS=$'\n'
        COMPREPLY=($(compgen -f -- "$cur"))
    elif [[ " $folders " == *" $prev "* ]]; then
        compopt -o filenames 2>/dev/null
        IFS=$'\n'
        COMPREPLY=($(compgen -d -- "$cur"))
    elif [[ " $values " != *" $prev "* ]]; then
        COMPREPLY=($(compgen -W "$flags $files $folders $values" -- "$cur"))
    fi
}
complete -F _lever lever
"""


def quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


def zsh_option(o):
    action = {
        "flag": "",
        "files": f":{o.arg}:_files",
        "folders": f":{o.arg}:_files -/",
        "value": f":{o.arg}: ",
    }[kind(o)]
    others = f"({' '.join(o.names)})" if len(o.names) > 1 else ""
    text = re.sub(r"([\[\]\\])", r"\\\1", brief(o))
    action = re.sub(r"(?<=^:)[^:]*", lambda m: re.sub(r"[\\:]", "", m[0]), action)
    out = []
    for name in o.names:
        equals = "=" if o.arg and name.startswith("--") else ""
        out.append("                " + quoted(f"{others}{name}{equals}[{text}]{action}"))
    return out


def zsh_completion(commands):
    listed = [f"        {quoted(c.name + ':' + c.summary)}" for c in commands]
    cases = []
    for c in commands:
        specs = [x for o in options_of(c) for x in zsh_option(o)]
        if takes_files(c):
            specs.append("                '*:file:_files'")
        if specs:
            cases += [
                f"        {c.name})",
                "            _arguments \\",
                " \\\n".join(specs),
                "            ;;",
            ]
    return ZSH.replace("@commands@", "\n".join(listed)).replace("@cases@", "\n".join(cases))


ZSH = r"""#compdef lever
# zsh completion of lever; written by tools/make_man.py (make man). SPDX-License-Identifier: MIT
_lever()
{
    local -a commands
    commands=(
@commands@
    )
    if ((CURRENT == 2)); then
        _describe -t commands command commands
        return
    fi
    shift words
    ((CURRENT--))
    case $words[1] in
@cases@
    esac
}
_lever "$@"
"""


def fish_option(c, o):
    out = f"complete -c lever -n '__fish_seen_subcommand_from {c.name}'"
    for name in o.names:
        long = name.startswith("--")
        out += f" -{'l' if long else 's' if len(name) == 2 else 'o'} {name.lstrip('-')}"
    out += {
        "flag": "",
        "files": " -r -F",
        "folders": " -x -a '(__fish_complete_directories)'",
        "value": " -x",
    }[kind(o)]
    return out + " -d " + "'" + brief(o).replace("\\", "\\\\").replace("'", "\\'") + "'"


def fish_completion(commands):
    out = [
        "# fish completion of lever; written by tools/make_man.py (make man). SPDX-License-Identifier: MIT"
    ]
    out.append("complete -c lever -f")
    for c in commands:
        summary = c.summary.replace("\\", "\\\\").replace("'", "\\'")
        out.append(f"complete -c lever -n __fish_use_subcommand -a {c.name} -d '{summary}'")
    for c in commands:
        if takes_files(c):
            out.append(f"complete -c lever -n '__fish_seen_subcommand_from {c.name}' -F")
        out += [fish_option(c, o) for o in options_of(c)]
    return "\n".join(out) + "\n"


# ---------------------------------------------------------------- main


def generate(program):
    title, version, commands, rest = read_program(program)
    return {
        "man/lever.1": man_page(title, version, commands, rest),
        "completion/lever.bash": bash_completion(commands),
        "completion/_lever": zsh_completion(commands),
        "completion/lever.fish": fish_completion(commands),
    }


def main():
    parser = argparse.ArgumentParser(description="man page and completions from the program's help")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("program")
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=ROOT / "share")
    a = parser.parse_args()
    try:
        files = generate(a.program)
    except (Unreadable, OSError) as e:
        print(f"make_man: {e}", file=sys.stderr)
        return 1
    stale = 0
    for name, text in files.items():
        path = a.folder / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        if a.check:
            print(f"{path} is not what the program says: make man", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")
    return 1 if a.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
