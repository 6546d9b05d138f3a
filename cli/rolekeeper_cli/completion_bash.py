"""Completion in bash, which takes `workload=web` for three words (COMP_WORDBREAKS): here it is one."""

import os

from click.shell_completion import BashComplete, CompletionItem, add_completion_class, split_arg_string


def use_bash_words() -> None:
    """Have bash's words put together again, where completion is for bash."""
    if os.environ.get("_ROLEKEEPER_COMPLETE", "").startswith("bash_complete"):
        add_completion_class(Bash)


_BREAKS = "=:"


class Bash(BashComplete):
    """click's own, but for words that hold a `=` or a `:`."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one that is completed, and that one."""
        words = split_arg_string(os.environ["COMP_WORDS"])[1 : int(os.environ["COMP_CWORD"]) + 1]
        if len(words) < int(os.environ["COMP_CWORD"]):
            words.append("")  # nothing is typed of it yet
        whole: list[str] = []
        joins = False
        for word in words:
            breaks = bool(word) and not word.strip(_BREAKS)
            if whole and (joins or breaks):
                whole[-1] += word
            else:
                whole.append(word)
            joins = breaks
        *before, self._incomplete = whole or [""]
        return before, self._incomplete

    def format_completion(self, item: CompletionItem[str]) -> str:
        """What bash puts in the place of what is typed after the last break."""
        kept = max(self._incomplete.rfind(each) for each in _BREAKS) + 1
        if item.type == "plain" and item.value.startswith(self._incomplete[:kept]):
            return f"{item.type},{item.value[kept:]}"
        return super().format_completion(item)
