"""Scenes of the page: rows of controls in the order of their use, each from a state of its own."""

from __future__ import annotations

from tests.browser.control_rows import (
    BAD,
    Row,
    choose_other,
    download,
    drag,
    follow,
    lose_uploads,
    play,
    press,
    read_docs,
    record,
    slide,
    switch_language,
    upload,
    write,
)

OPEN = "it => it.closest('details').open"
CHECKED, UNCHECKED = "it => it.checked", "it => !it.checked"
PRESSED = "it => it.getAttribute('aria-pressed') === 'true'"
GROUPS = ("prompts", "loop", "finish", "file", "sampling", "queue")
DESK = ("pointer", "keyboard")
"""Devices with letters to press."""
PRESETS = {
    "lofi": "Lofi hip hop",
    "orchestra": "Epic orchestra",
    "bells": "Fast high bells",
    "ambient": "Slow ambient",
    "drums": "Tight electronic",
    "jingle": "Short bright",
    "piano|stem.piano": "Upbeat piano",
}
SIGN_IN_BUTTON = "#sign-in button sign-in.button|sign-in.title"
CANCEL = "dialog button dialog.cancel|job.cancel"
NO_DIALOG = "() => !document.querySelector('dialog[open]')"


def says(selector: str, *keys: str) -> str:
    return f"async () => {list(keys)}.includes(await pageWalk.says('{selector}'))"


def has_value(selector: str, text: str = "") -> str:
    return f"() => document.querySelector('{selector}').value.startsWith('{text}')"


def is_there(selector: str) -> str:
    return f"() => document.querySelector(`{selector}`)"


def is_gone(selector: str) -> str:
    return f"() => !document.querySelector(`{selector}`)"


TOP = [
    Row("#skip", press, "() => document.activeElement.id === 'results'", ("keyboard",)),
    Row("top a", follow, "() => location.pathname === '/'"),
    Row("foot a page.api", read_docs, "() => location.pathname === '/'"),
    Row("#language", switch_language, "() => document.documentElement.lang"),
    Row("#theme", press, PRESSED),
    Row("#shortcuts-open", press, is_there("#shortcuts[open]"), DESK, look=True),
    Row("#shortcuts-on", press, UNCHECKED, DESK),
    Row("#shortcuts-on", press, CHECKED, DESK),
    Row("#shortcuts button shortcuts.close", press, is_gone("#shortcuts[open]"), DESK),
]
FORM = [
    *(
        Row(f"#presets button preset.{name}", press, has_value("#f-prompt", prompt))
        for name, prompt in PRESETS.items()
    ),
    Row(
        "#length-slider",
        slide,
        "it => Math.abs(Number(document.querySelector('#f-duration').value) - 133) < 30",
        ("pointer", "phone"),
    ),
    Row("#request summary sound.title", press, OPEN),
    *(Row(f"#request summary group.{name}", press, OPEN) for name in GROUPS),
    Row("#recipe summary recipe.title", press, OPEN, look=True),
    *(Row(f"#recipe button {name}", press, PRESSED) for name in ("Python", "JavaScript", "curl")),
    Row("#recipe-copy", press, says("#announcer", "recipe.copied", "recipe.selected")),
    Row("#recipe-code", press, "it => it.textContent.includes('curl')"),
    Row("#request input field.continuation.label|sound.continue", press, CHECKED),
    Row("#request input sound.follow", press, CHECKED),
]
SECTIONS = [
    Row("#section-add", press, is_there(".section-row"), look=True),
    Row("#section-list input sections.prompt", write("harp"), "it => it.value === 'harp'"),
    Row(
        "#section-list input sections.seconds",
        write("7"),
        "() => document.querySelector('#recipe-code').textContent.includes('\"duration\": 7')",
    ),
    Row("#section-list button sections.remove", press, is_gone(".section-row")),
]
SOUND = [
    Row("#request summary sound.title", press, OPEN),
    Row("#f-input_audio", upload(BAD), is_there("#refused:not([hidden])"), look=True),
    Row("#refused-drop", press, is_there("#refused[hidden]")),
    Row("#f-input_audio", lose_uploads, is_there("#refused:not([hidden])"), look=True),
    Row("#refused-again", press, is_there("#region .stage.drawn"), look=True),
    Row("#upload-preview", play, "it => it.currentTime > 0"),
    Row("#region slider region.start", drag(0.3), has_value("#f-continuation_start", "1")),
    Row("#region slider region.end", drag(-0.25), has_value("#f-continuation_end", "3")),
    Row(
        "#region button region.listen",
        press,
        "() => document.querySelector('#upload-preview').currentTime > 0",
    ),
    Row("#f-continuation_start", write("0.5"), has_value("#f-continuation_start", "0.5")),
    Row("#f-continuation_end", write("2"), has_value("#f-continuation_end", "2")),
    # The part was one of this sound, so it goes with it.
    Row(
        "#upload-remove",
        press,
        "() => document.querySelector('#upload').hidden && !['start', 'end'].some((each) => "
        "Number(document.querySelector(`#f-continuation_${each}`).value))",
    ),
    Row("#record", record, is_there("#region .stage.drawn")),
    Row("#upload-remove", press, is_there("#upload[hidden]")),
]
SUBMIT = [
    Row("#f-prompt", write("calm piano"), has_value("#f-prompt", "calm piano")),
    Row("#f-duration", write("500"), has_value("#f-duration", "500")),
    Row("#submit", press, is_there("#f-duration-error"), look=True),
    Row("#f-duration", write("1"), has_value("#f-duration", "1")),
    Row("#submit", press, is_there("#job .state[data-state=completed]"), look=True),
]
DONE = [
    Row("compare button compare.clip", press, PRESSED),
    Row("clip button player.pause", press, "() => true"),
    Row(
        "clip button player.play",
        press,
        "() => [...document.querySelectorAll('.player audio')].some((each) => !each.paused)",
    ),
    Row(
        "clip button player.pause",
        press,
        "() => [...document.querySelectorAll('.player audio')].every((each) => each.paused)",
    ),
    Row("clip slider player.position", slide, "it => Number(it.getAttribute('aria-valuenow')) > 0"),
    Row("clip a clip.download-original wav", download("wav"), "() => true"),
    *(
        Row(f"clip a clip.download-as {name}", download(name), "() => true")
        for name in ("flac", "mp3", "ogg")
    ),
    Row("clip button clip.use-seed", press, "() => document.querySelector('#f-seed').value !== ''"),
    Row("clip button clip.more", press, has_value("#f-prompt", "slow strings")),
    Row("clip button clip.continue", press, is_there("#region .stage.drawn")),
    Row("about summary about.title", press, "it => it.parentElement.open", look=True),
]
MIDI = [Row("clip a clip.midi-download MIDI", download("mid", 20), "() => true")]
RUNNING = [
    Row("live select live.which", choose_other, is_there(".live audio[src$='clip=2']")),
    Row("live audio live.listen", play, "it => !it.paused || it.currentTime > 0", look=True),
    Row(
        "#job button dialog.cancel|job.cancel", press, is_there("[data-state=cancelled]"), look=True
    ),
    Row("#job button job.edit", press, has_value("#f-prompt", "endless")),
]
HISTORY = [
    Row("#history-list open", press, "() => location.hash.startsWith('#job=')"),
    Row("#history-list favour", press, is_there(".star[aria-pressed=true]")),
    Row("#history-favourites", press, "() => document.querySelectorAll('.past-row').length === 1"),
    Row("#history-favourites", press, "() => document.querySelectorAll('.past-row').length === 3"),
    Row("#history-list rename", press, is_there("dialog[open]"), look=True),
    Row(CANCEL, press, NO_DIALOG),
    Row("#history-list rename", press, is_there("dialog[open]")),
    Row("dialog input history.name", write("renamed"), "it => it.value === 'renamed'"),
    Row(
        "dialog button dialog.save",
        press,
        "() => document.querySelector('.past-title').textContent === 'renamed'",
    ),
    Row("#history-list remove", press, is_there("dialog[open]"), look=True),
    Row(CANCEL, press, NO_DIALOG),
    Row("#history-list remove", press, is_there("dialog[open]")),
    Row(
        "dialog button history.delete",
        press,
        "() => document.querySelectorAll('.past-row').length === 2",
    ),
    Row("#history-list select", press, is_there("#history-actions:not([hidden])"), look=True),
    Row(
        "#history-all", press, "() => document.querySelectorAll('.past-row :checked').length === 2"
    ),
    Row("#history-tools button history.zip", download("zip"), "() => true"),
    Row("#history-tools button history.delete_selected", press, is_there("dialog[open]")),
    Row("dialog button history.delete", press, is_gone(".past-row"), look=True),
]
EARLIER = [
    Row("#history-more", press, "() => document.querySelectorAll('.past-row').length > 10"),
]
AGAIN = [
    Row("#f-prompt", write("calm piano"), has_value("#f-prompt", "calm piano")),
    Row("#submit", press, is_there("#form-notice button:not([disabled])"), look=True),
    Row("#form-notice button notice.again", press, is_there("#form-notice[hidden]")),
]
LOST = [Row("#page-notice button notice.again-in", press, is_there("#studio:not([hidden])"))]
SIGN_IN = [
    Row("#key", write("mg_wrong"), has_value("#key", "mg_wrong")),
    Row(
        SIGN_IN_BUTTON,
        press,
        is_there("#sign-in-notice:not([hidden])"),
        look=True,
    ),
]
SIGN_OUT = [Row("#sign-out", press, is_there("#sign-in:not([hidden])"))]
KEYS = {
    "?": is_there("#shortcuts[open]"),
    "P": "() => document.activeElement.id === 'f-prompt'",
    "K": "() => [...document.querySelectorAll('.player audio')].some((each) => !each.paused)",
    "1 – 8": is_there(".compare button:nth-of-type(2)[aria-pressed=true]"),
    "D": "() => true",
    "H": "() => document.activeElement.matches('#history-list a')",
}
"""Keys of the list of shortcuts, with their proofs. Ctrl + Enter stands under another name."""
