"""What a value must be to stand in a variable, or on a line of a file that libraries read."""


class Unwritable(Exception):
    """a connection cannot be given, or not in some form: a sentence that names fields and secrets and no value"""


def insist_on_text(where: str, text: str) -> None:
    """That it is something, printable, and has no white space around it: what readers of files would take away.

    Raises:
        Unwritable: it begins with `where`.
    """
    if not text:
        raise Unwritable(f"{where} is empty")
    if text != text.strip():
        raise Unwritable(f"{where} begins or ends with white space")
    if not text.isprintable():
        raise Unwritable(f"{where} has a control character")


def insist_on_word(name: str, text: object) -> None:
    """That it is visible ASCII, without white space: all that a header of HTTP takes.

    Raises:
        Unwritable: it is not.
    """
    if not isinstance(text, str) or not all("!" <= character <= "~" for character in text):
        raise Unwritable(f"its {name} has other characters than visible ASCII")
