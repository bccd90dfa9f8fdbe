"""The checks of a value that becomes a variable, or a line of a file that libraries read."""


class Unusable(Exception):
    """a connection cannot be given, or not in some form: the message names fields and secrets and no value"""


def check_text(where: str, text: str) -> None:
    """Refuse a text that is empty, not printable, or surrounded by white space, which readers of files drop.

    Raises:
        Unusable: the message begins with `where`.
    """
    if not text:
        raise Unusable(f"{where} is empty")
    if text != text.strip():
        raise Unusable(f"{where} begins or ends with white space")
    if not text.isprintable():
        raise Unusable(f"{where} has a control character")


def check_visible_ascii(name: str, text: object) -> None:
    """Refuse anything but visible ASCII without white space: an HTTP header takes nothing else.

    Raises:
        Unusable: it has other characters.
    """
    if not isinstance(text, str) or not all("!" <= character <= "~" for character in text):
        raise Unusable(f"its {name} has characters other than visible ASCII")
