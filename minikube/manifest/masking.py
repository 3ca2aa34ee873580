"""Commands of a service as they are shown: its own, those of its check and of its stop, without the secrets of its variables."""

from collections.abc import Iterable

from minikube.manifest.spec import ServiceSpec
from minikube.manifest.variables.interpolate import template_text
from minikube.text import mask_words, secrets_in


def masked_words(spec: ServiceSpec, words: Iterable[str]) -> list[str]:
    """Return the words of a command of the service with secrets masked: see `minikube.text.mask_words`.

    The words may be templates or have their dollars single.
    """
    texts = {name: template_text(value) for name, value in spec.env.items()}
    return mask_words(words, (*secrets_in(spec.env), *secrets_in(texts), *spec.file_env.values()))


def shown_command(spec: ServiceSpec, words: Iterable[str]) -> str:
    """Return a command of the service, given as templates, as one line to show, with secrets masked."""
    return " ".join(masked_words(spec, map(template_text, words)))
