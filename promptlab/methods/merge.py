"""A predictor as a plain transformers checkpoint, where one can say what it says.

    one model, no calibration, a tuning that folds into the weights
    cloze     the backbone with the learnt weights, and its own language-model head; so where it writes texts
    head      its encoder under a classification head, where that reads what the architecture's own head reads

Anything else is refused with its reason.
"""

from pathlib import Path

from promptlab.backbone.export import write_classifier, write_language_model
from promptlab.errors import SettingError
from promptlab.methods.method import Predictor
from promptlab.methods.predict import Ensemble, Model
from promptlab.methods.standing import Standing

_INSTEAD = "Save it without merge."


def mergeable(
    predictor: Predictor, system: str, holder: str = "a plain checkpoint", instead: str = _INSTEAD
) -> Standing:
    """The one model that the predictor is.

    Args:
        predictor: of any method.
        system: what it is called.
        holder: what is to hold it.
        instead: what to write where it cannot.

    Raises:
        SettingError: it is several models, learnt no weights, is calibrated, or its head says numbers.
    """
    if isinstance(predictor, Ensemble):
        if len(predictor.members) > 1:
            raise SettingError(
                f"{system} is {len(predictor.members)} models together, and {holder} holds one. {instead} "
                "Or learn a single one: prompt, finetune, pet with unlabelled rows."
            )
        return mergeable(predictor.members[0], system, holder, instead)
    if not isinstance(predictor, Standing) or predictor.tuning is None:
        raise SettingError(f"{system} changes no weights of a backbone, so {holder} has nothing to hold. {instead}")
    if predictor.pvp is None and predictor.task.range is not None:
        raise SettingError(
            f"{system} answers with a number from {predictor.task.range}, for which {holder} has no scale. {instead}"
        )
    if isinstance(predictor, Model) and predictor.bias is not None:
        raise SettingError(f"{system} is calibrated, which {holder} cannot hold. {instead}")
    return predictor


def manner(model: Standing) -> str:
    """``head``, ``cloze`` or ``continuation``: what its checkpoint will be."""
    if model.pvp is None:
        return "head"
    return "cloze" if model.backbone.kind == "masked" else "continuation"


def write_merged(model: Standing, folder: Path, system: str) -> None:
    """Writes the checkpoint with its tokenizer.

    Raises:
        SettingError: what was learnt stands beside the weights, or the head reads what a plain one would not.
    """
    before = _hooks(model)  # a user may have hung some of their own
    with model.applied():
        if _hooks(model) > before:
            raise SettingError(
                f"{system}: what was learnt stands beside the weights of {model.backbone.name}, so it cannot be merged "
                f"into them. {_INSTEAD}"
            )
        if not isinstance(model, Model) or model.pvp is not None:
            write_language_model(model.backbone, folder)
            return
        ready = model.head()
        ready.module.load_state_dict(dict(ready.parameters))
        write_classifier(model.backbone, ready.module, model.task.labels, model.pool, folder)


def _hooks(model: Standing) -> int:
    modules = list(model.backbone.model.modules())
    replaced = sum("forward" in vars(module) for module in modules)  # the word embedding's, under soft tokens
    return replaced + sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules)
