"""The page's own words: gettext catalogues of `locale`, one for each area, read once."""

import gettext
from functools import lru_cache
from importlib.resources import files
from io import BytesIO

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import Translations

from notifier.wording.phrases import Language


@lru_cache
def translations(language: Language) -> gettext.NullTranslations:
    """Return the words in a language. English is what the templates say."""
    folder = files("notifier.web").joinpath("locale", language)
    if not folder.is_dir():
        return gettext.NullTranslations()
    merged = Catalog(locale="zh_CN")
    for file in sorted(folder.iterdir(), key=lambda one: one.name):
        if file.name.endswith(".po"):
            for message in read_po(BytesIO(file.read_bytes()), locale="zh_CN"):
                if message.id:
                    merged.add(message.id, message.string, context=message.context)
    compiled = BytesIO()
    write_mo(compiled, merged)
    compiled.seek(0)
    return Translations(compiled)
