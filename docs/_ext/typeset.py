"""The formulas of docstrings as TeX: ``v <- beta v - alpha g; y <- y + v``.

Docstrings write formulas so that they read well in a terminal. This reads them symbol by symbol;
it knows no precedence, so that a quotient stays a quotient on one line.
"""

import re

GREEK = {
    *["alpha", "beta", "gamma", "delta", "eps", "eta", "theta", "kappa", "lambda", "mu", "nu"],
    *["xi", "pi", "rho", "sigma", "tau", "phi", "psi", "omega", "lamb", "Delta"],
}
SPELLED = {"eps": r"\epsilon", "lamb": r"\lambda"}
OPERATORS = {
    "<-": r"\leftarrow",
    "->": r"\to",
    "<=": r"\le",
    ">=": r"\ge",
    "...": r"\ldots",
    "*": r"\cdot",
    ";": r";\quad",
    "%": r"\%",
    "#": r"\#",
}
FUNCTIONS = {"sign", "min", "max", "log2", "floor", "mean", "clip", "polar", "Re", "trace", "det"}

_SYMBOL = re.compile(
    r"(?P<space>\s+)|(?P<operator><-|->|<=|>=|\.\.\.)|(?P<number>\d+(?:\.\d+)?)"
    r"|(?P<words>[a-z]{2,}(?:_[a-z]{2,})+)|(?P<name>[^\W\d_]+\d*)|(?P<mark>[\s\S])"
)


def is_code(text: str) -> bool:
    """Return whether a literal is a piece of Python, which stays one."""
    calls = re.search(r"\w+\([^()]*[a-z]\w*=[^=]", text)
    dotted = re.search(r"[A-Za-z_]\w+\.[A-Za-z]|[a-z]+_[a-z]{2,}|[\"'@\[](?=\w)", text)
    return bool(calls or (dotted and "<-" not in text and " = " not in text))


def typeset_prose(text: str) -> str:
    """Return MyST: literals that are formulas become TeX, long ones on lines of their own.

    Args:
      text: Paragraphs of a docstring, with formulas in double backticks.

    Returns:
      The same paragraphs; names in single backticks become references.
    """
    text = re.sub(r"(?<!`)`([\w.]+)`(?!`)", r"{py:obj}`\1`", text.strip())
    return re.sub(r"``(.+?)``([.,;:]?)", _typeset_literal, text, flags=re.S)


def _typeset_literal(match: re.Match) -> str:
    """Typeset one literal: as code, within the line, or as one line for each statement."""
    text = " ".join(match[1].split())
    if is_code(text):
        return f"`{text}`{match[2]}"
    statements = split_statements(text)
    if len(statements) == 1 and len(text) < 45:
        return f"${typeset(text)}${match[2]}"
    formulas = [typeset(statement) for statement in statements]
    formulas[-1] += match[2]
    lines = "\n\n".join(f"$$\n{formula}\n$$" for formula in formulas)
    return f"\n\n{lines}\n\n"


def split_statements(text: str) -> list[str]:
    """Split at semicolons that are not in brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == ";" and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def typeset(text: str) -> str:
    """Return one formula as TeX.

    Args:
      text: Such as ``y_{t+1} = y_t - alpha g_t / sqrt(v^)``.

    Raises:
      ValueError: A bracket has no partner.
    """
    text = re.sub(r"<([^<>=-][^<>=]*?), ([^<>=]+?)>", r"⟨\1, \2⟩", text)
    symbols = list(_SYMBOL.finditer(text))
    atoms, rest = _read_atoms([(m.lastgroup or "", m[0]) for m in symbols], 0, "")
    assert rest == len(symbols)
    return " ".join(atom for atom in atoms if atom)


def _read_atoms(symbols: list[tuple[str, str]], at: int, closing: str) -> tuple[list[str], int]:
    """Read symbols until a closing bracket, and return their TeX and the place after it."""
    atoms: list[str] = []
    bars = 0
    while at < len(symbols):
        kind, text = symbols[at]
        at += 1
        if text == closing:
            return atoms, at
        if kind == "space":
            continue
        if text in "([{⟨" and kind == "mark":
            ends = {"(": ")", "[": "])", "{": "}", "⟨": "⟩"}[text]
            inner, at = _read_atoms(symbols, at, ends[0])
            atoms.append(_bracket(text, inner))
        elif text == "|":
            bars += 1
            atoms.append(r"\lVert" if bars % 2 else r"\rVert")
        elif text in "_^":
            at = _attach(atoms, symbols, at, text)
        elif text == "'":
            atoms[-1] += "'"
        elif text == "*" and atoms and re.fullmatch(r"[a-zA-Z]", atoms[-1]):
            atoms[-1] += r"^{\star}"
        elif text in ("sqrt", "grad"):
            at = _read_function(atoms, symbols, at, text)
        else:
            atoms.append(_translate(kind, text))
    if closing:
        raise ValueError(f"a bracket has no {closing!r}: {''.join(t for _, t in symbols)}")
    return atoms, at


def _bracket(opening: str, inner: list[str]) -> str:
    """Return the atoms between brackets, which become one atom."""
    left, right = {
        "(": ("(", ")"),
        "[": ("[", "]"),
        "{": ("{", "}"),
        "⟨": (r"\langle ", r"\rangle"),
    }[opening]
    return f"{left}{' '.join(inner)}{right}"


def _read_function(atoms: list[str], symbols: list[tuple[str, str]], at: int, name: str) -> int:
    """Read what a root is taken of; a gradient is a sign before its function."""
    if name == "grad":
        atoms.append(r"\nabla")
        return at
    while symbols[at][0] == "space":
        at += 1
    inner, at = _read_one(symbols, at)
    atoms.append(rf"\sqrt{{{inner}}}")
    return at


def _attach(atoms: list[str], symbols: list[tuple[str, str]], at: int, mark: str) -> int:
    """Attach an index or a power to the last atom; a caret before nothing is a hat."""
    follows = symbols[at][1] if at < len(symbols) else " "
    if mark == "^" and (follows.isspace() or follows in ");,|/"):
        base, index = re.fullmatch(r"([^_]+)(_.*)?", atoms[-1]).groups()  # type: ignore[union-attr]
        atoms[-1] = rf"\hat{{{base}}}{index or ''}"
        return at
    sign = ""
    if follows in ("+", "-") and mark == "_":  # the positive part
        atoms[-1] += f"_{follows}"
        return at + 1
    if follows == "-":
        sign, at = "-", at + 1
    if mark == "_" and symbols[at][0] == "name" and symbols[at + 1 : at + 2] == [("mark", "*")]:
        atoms[-1] += f"_{{{symbols[at][1]}}}"
        return at + 1
    inner, at = _read_one(symbols, at)
    base = atoms[-1].removesuffix(r"\,")  # the space after a word follows its index
    space = atoms[-1][len(base) :]
    inner = inner.removeprefix(r"\,").removesuffix(r"\,")
    atoms[-1] = f"{base}{mark}{{{sign}{inner}}}{space}"
    return at


def _read_one(symbols: list[tuple[str, str]], at: int) -> tuple[str, int]:
    """Read one symbol or what is in brackets, without the brackets."""
    kind, text = symbols[at]
    if text in "({":
        inner, at = _read_atoms(symbols, at + 1, ")" if text == "(" else "}")
        return " ".join(inner), at
    return _translate(kind, text), at + 1


def _translate(kind: str, text: str) -> str:
    """Return the TeX of one name, number or operator."""
    if kind == "words":  # a name of Python, or a letter with a word as its index
        letter, _, index = text.partition("_")
        if letter in GREEK:
            return rf"{_translate('name', letter)}_{{\text{{{index.replace('_', ' ')}}}}}"
        return rf"\,\text{{{text.replace('_', ' ')}}}\,"
    if kind != "name":
        return OPERATORS.get(text, text)
    if text in FUNCTIONS:
        return rf"\operatorname{{{text.replace('log2', 'log_2')}}}"
    word, digits = re.fullmatch(r"(\D+)(\d*)", text).groups()  # type: ignore[union-attr]
    if word in ("sum", "in", "inf"):
        return {"sum": r"\sum", "in": r"\in", "inf": r"\infty"}[word]
    letter = SPELLED.get(word, f"\\{word}") if word in GREEK else word
    if word not in GREEK and len(word) > 1:
        letter = rf"\,\mathrm{{{word}}}\,"
    return f"{letter}_{{{digits}}}" if digits else letter
