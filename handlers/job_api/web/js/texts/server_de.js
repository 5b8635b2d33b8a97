/** German texts of the server's codes, sorted by key: error.CODE, note.CODE, refused.REASON. */
export default {
  "error.attempts_exhausted":
    "Der Rechner ist daran mehrmals gescheitert. Ein kürzerer Clip gelingt vielleicht.",
  "error.backup_error":
    "Eine Sicherung lässt sich nicht schreiben oder lesen. Wende dich an die Administration.",
  "error.body_too_large": "Das ist zu groß zum Senden.",
  "error.body_too_slow":
    "Das kam nicht rechtzeitig an. Prüfe die Verbindung und versuche es noch einmal.",
  "error.bucket_refused":
    "Der Server kommt nicht an seinen Speicher. Wende dich an die Administration.",
  "error.bucket_unavailable": "Der Speicher des Servers antwortet gerade nicht.",
  "error.cancelled": "Das wurde abgebrochen.",
  "error.checkpoint_corrupt":
    "Eine Datei dieses Modells ist beschädigt. Wähle ein anderes oder wende dich an die Administration.",
  "error.checkpoint_error":
    "Der Server kann dieses Modell nicht laden. Wähle ein anderes oder wende dich an die Administration.",
  "error.checkpoint_incomplete":
    "Eine Datei dieses Modells fehlt. Wähle ein anderes oder wende dich an die Administration.",
  "error.checkpoint_mismatch":
    "Die Dateien dieses Modells passen nicht zusammen. Wähle ein anderes oder wende dich an die Administration.",
  "error.checkpoint_not_found": "Der Server hat dieses Modell nicht. Wähle ein anderes.",
  "error.data_folder_unusable":
    "Der Server kann seinen Datenordner nicht benutzen. Wende dich an die Administration.",
  "error.database_away": "Der Server erreicht gerade seine Datenbank nicht.",
  "error.database_too_new":
    "Server und Datenbank haben verschiedene Versionen. Wende dich an die Administration.",
  "error.device_fault":
    "Der Rechner, der die Musik macht, hatte eine Störung. Versuche es noch einmal.",
  "error.disk_full": "Auf dem Server ist kein Platz mehr. Wende dich an die Administration.",
  "error.empty_prompt": "Beschreibe zuerst die Musik oder füge eigenes Audio hinzu.",
  "error.engine_busy": "Der Server ist gerade ausgelastet.",
  "error.generation_failed":
    "Die Musik konnte nicht erzeugt werden. Versuche es noch einmal oder ändere die Optionen.",
  "error.idempotency_key_used":
    "Das wurde schon mit anderem Inhalt gesendet. Sende es noch einmal.",
  "error.inline_too_large":
    "Die Clips sind zu groß für eine Antwort. Wähle weniger, kürzere oder mp3.",
  "error.input_audio_refused": "Von dieser Adresse darf der Server kein Audio laden.",
  "error.input_audio_too_large": "Diese Audiodatei ist zu groß. Wähle eine kürzere.",
  "error.input_audio_unreachable": "Das Audio war unter seiner Adresse nicht zu erreichen.",
  "error.internal_error":
    "Auf dem Server ist etwas schiefgegangen. Versuche es noch einmal. Passiert es wieder, wende dich an die Administration.",
  "error.invalid_bit_depth": "Wähle eine der angebotenen Bittiefen.",
  "error.invalid_continuation":
    "So lässt sich das Audio nicht fortsetzen. Der Server meldet: {reason}",
  "error.invalid_duration": "Wähle eine Länge von {min} bis {max} Sekunden.",
  "error.invalid_guidance": "Wähle eine Zahl ab {min}.",
  "error.invalid_input_audio":
    "Dieses Audio lässt sich so nicht verwenden. Der Server meldet: {reason}",
  "error.invalid_request": "Das geht so nicht. Der Server meldet: {reason}",
  "error.invalid_seed": "Der Seed muss eine ganze Zahl von 0 bis {max} sein.",
  "error.invalid_settings": "Der Server ist falsch eingerichtet. Wende dich an die Administration.",
  "error.invalid_temperature": "Die Temperatur muss eine Zahl ab {min} sein.",
  "error.invalid_top_k": "Wähle eine ganze Zahl von {min} bis {max}.",
  "error.invalid_top_p": "Wähle eine Zahl von {min} bis {max}.",
  "error.invalid_variations": "Höchstens {max} Clips auf einmal: Beschreibungen mal Varianten.",
  "error.key_needed": "Dafür brauchst du einen Schlüssel. Bitte die Administration um einen.",
  "error.key_wrong":
    "Dieser Schlüssel gilt nicht. Prüfe ihn oder bitte die Administration um einen neuen.",
  "error.merge_differs":
    "Dieses Modell ist nicht, was es sein soll. Wähle ein anderes oder wende dich an die Administration.",
  "error.method_not_allowed": "Der Server kennt diesen Aufruf nicht. Lade die Seite neu.",
  "error.missing_dependency": "Dem Server fehlt dafür ein Paket. Wende dich an die Administration.",
  "error.model_not_found": "Dieses Modell gibt es hier nicht. Wähle ein anderes.",
  "error.model_too_large":
    "Dieses Modell passt nicht in den Speicher des Servers. Wähle ein kleineres.",
  "error.model_unavailable": "Kein Rechner hier kann dieses Modell laden. Wähle ein anderes.",
  "error.non_finite_logits":
    "Das Modell hat keinen gültigen Klang erzeugt. Versuche einen anderen Seed oder andere Optionen.",
  "error.not_allowed":
    "Dein Schlüssel erlaubt das nicht. Bitte die Administration um weitere Rechte.",
  "error.not_found": "Das gibt es nicht mehr. Vielleicht wurde es gelöscht.",
  "error.not_there": "Das ist im Moment nicht da.",
  "error.not_writable":
    "Der Server kann gerade nichts speichern. Wende dich an die Administration.",
  "error.object_missing": "Die Datei ist nicht mehr im Speicher.",
  "error.out_of_memory":
    "Das war zu viel für den Rechner. Versuche es kürzer oder mit weniger Varianten.",
  "error.outdated_library": "Der Server ist falsch eingerichtet. Wende dich an die Administration.",
  "error.part_unavailable": "Kein Rechner hier kann das machen. Wende dich an die Administration.",
  "error.precondition_failed": "Die Datei ist inzwischen eine andere Fassung.",
  "error.prompt_too_long": "Die Beschreibung ist zu lang. Kürze sie.",
  "error.queue_full": "Die Warteschlange ist gerade voll.",
  "error.range_not_satisfiable": "Diesen Teil der Datei gibt es nicht.",
  "error.refused": "Der Server hat das abgelehnt und meldet: {reason}",
  "error.remote_error":
    "Der entfernte Dienst konnte das nicht erzeugen. Versuche es später noch einmal.",
  "error.server_busy": "Der Server ist gerade ausgelastet.",
  "error.stopping": "Der Server wird gerade beendet. Versuche es gleich noch einmal.",
  "error.storage_error":
    "Der fertige Clip konnte nicht gespeichert werden. Versuche es später noch einmal.",
  "error.too_many_calls": "Das war zu viel auf einmal.",
  "error.too_many_favourites": "Du hast so viele Favoriten, wie du darfst. Entferne zuerst einen.",
  "error.too_many_jobs":
    "Du hast schon so viele Aufträge, wie du darfst. Warte, bis einer fertig ist, oder brich einen ab.",
  "error.too_many_streams": "Zu viele Seiten dieses Servers sind offen. Schließe eine.",
  "error.too_many_uploads":
    "Du hast so viel hochgeladen, wie du darfst. Die älteste Datei läuft ab in: {wait}.",
  "error.unknown": "Das hat nicht geklappt. Der Server meldet: {reason}",
  "error.unknown_field": "Der Server kennt dieses Feld nicht. Lade die Seite neu.",
  "error.unknown_format": "Der Server kennt dieses Format nicht. Wähle ein anderes.",
  "error.unknown_model": "Dieses Modell gibt es hier nicht. Wähle ein anderes.",
  "error.unknown_strategy": "Der Server kennt diese Pegelart nicht. Wähle eine andere.",
  "error.unsupported_adapter":
    "Der Server kann diesen Adapter nicht verwenden. Wähle ein anderes Modell.",
  "error.unsupported_checkpoint":
    "Der Server kann mit dieser Art von Modell nicht umgehen. Wähle ein anderes.",
  "error.upload_failed":
    "Der fertige Clip konnte nicht gespeichert werden. Versuche es später noch einmal.",
  "error.upload_in_use": "Ein Auftrag braucht dieses Audio noch. Warte auf ihn oder brich ihn ab.",
  "error.wait_timeout": "Das dauert länger, als ein Aufruf warten darf. Der Auftrag läuft weiter.",
  "note.almost_silent": "Der Clip ist fast still. Sein Pegel bleibt, wie er ist.",
  "note.beyond_full_scale":
    "Übersteuerte Abtastwerte: {count}. Ganzzahlige Formate begrenzen sie.",
  "note.bitrate_too_low":
    "Die Datei ist leiser als gewünscht. Bei dieser Bitrate behält der Codec zu wenig vom Klang.",
  "note.credentials_lost": "Die Herkunftsnachweise deines Klangs gingen verloren.",
  "note.credentials_too_large":
    "Die Herkunftsnachweise deines Klangs sind zu groß, um sie zu behalten.",
  "note.credentials_unsupported":
    "Ogg und Opus können keine Herkunftsnachweise tragen. WAV, FLAC und MP3 können es.",
  "note.demo":
    "Das Modell demo ist ein Spielzeug. Es spielt kurze künstliche Stücke, keine richtige Musik.",
  "note.from_tokens": "Fortgesetzt aus den Tokens in der Datei des Clips.",
  "note.inaudible": "Der ganze Clip ist zu leise, um ihn zu hören. Sein Pegel bleibt, wie er ist.",
  "note.loop_gap":
    "In diesem Format machen Player zwischen den Runden eines Loops womöglich eine Pause, bei wav nicht.",
  "note.loudness_missed":
    "Die Lautheit beträgt {level} LUFS. Für mehr müsste der Limiter die Musik flach drücken.",
  "note.no_loudness":
    "Ein Clip unter {seconds} s hat keine Lautheit. Sein Pegel richtet sich nach dem Effektivwert.",
  "note.out_of_phase":
    "In Mono löschen sich die Kanäle aus. Der Pegel wurde an jedem Kanal gemessen.",
  "note.rms_missed":
    "Der Effektivwert beträgt {level} dBFS. Für mehr müsste der Limiter die Musik flach drücken.",
  "note.separated":
    "Die Melodie stammt aus Gesang und übrigen Instrumenten, ohne Schlagzeug und Bass.",
  "note.silent": "Der Clip ist still.",
  "note.stream_credentials":
    "Der Live-Klang hat keine Herkunftsnachweise. Der fertige Clip hat sie.",
  "note.stream_level":
    "Beim Mithören hat die Musik den Pegel des Modells. Der fertige Clip ist normalisiert.",
  "note.whole_mix": "Die Melodie stammt aus dem ganzen Mix.",
  "refused.a_form": "Sende die Audiodatei selbst, nicht ein Formular.",
  "refused.address_invalid": "Das ist keine gültige Web-Adresse.",
  "refused.address_not_public": "Die Adresse muss öffentlich im Internet erreichbar sein.",
  "refused.bad_rate": "Die Abtastrate muss zwischen {least} und {most} Hz liegen.",
  "refused.bitrate_format":
    "Eine Bitrate haben nur mp3 und opus. Wähle eines dieser Formate oder lass die Bitrate leer.",
  "refused.changing":
    "Die Abtastrate oder die Zahl der Kanäle ändert sich mittendrin. Speichere die Datei neu.",
  "refused.choice": "Wähle eines davon: {choices}.",
  "refused.codec":
    "Die Datei enthält {codec}. Das lässt sich hier nicht lesen. Wähle ein anderes Format.",
  "refused.damaged": "Die Datei ist nach {seconds} s beschädigt.",
  "refused.damaged_mp3": "Die Datei ist beschädigt: Ein Teil ist kein MP3. Speichere sie neu.",
  "refused.decoder_codec": "Dieses Modell kann nur mit dem Decoder encodec arbeiten.",
  "refused.decoder_rate": "Modelle mit {rate} Hz arbeiten nur mit dem Decoder encodec.",
  "refused.decoder_unavailable": "Dieser Server hat nur den Decoder encodec.",
  "refused.duration_with_sections": "Die Abschnitte dauern {total} s: Lass die Länge oben leer.",
  "refused.edges_with_loop":
    "Ein Loop wird nicht ein- oder ausgeblendet und behält seine Stille. Schalte diese Optionen ab.",
  "refused.edges_with_tokens":
    "In einen Loop oder beschnittenen Clip lassen sich keine Tokens einbetten.",
  "refused.empty": "Die Datei ist leer.",
  "refused.empty_body": "Die Datei ist leer.",
  "refused.end_before_start": "Das Ende muss nach dem Anfang liegen ({start} s).",
  "refused.engine_guidance": "Auf diesem Server muss die Guidance mindestens 1 sein.",
  "refused.engine_seconds": "Auf diesem Server hat ein Clip höchstens {most} s.",
  "refused.fades_too_long":
    "Ein- und Ausblendung dürfen zusammen nicht länger sein als der Clip ({seconds} s).",
  "refused.format": "Das Format {format} lässt sich hier nicht lesen. Wähle ein anderes.",
  "refused.incomplete": "Die Datei lässt sich nicht bis zum Ende lesen. Speichere sie neu.",
  "refused.joined_sounds":
    "Die Datei besteht aus Teilen mit verschiedener Abtastrate oder Kanalzahl. Sende einen davon oder speichere sie neu.",
  "refused.longer_than_header": "Die Datei ist länger, als ihr Kopf angibt. Speichere sie neu.",
  "refused.loop_too_long":
    "Ein Loop hat höchstens {most} s, gerundet auf ganze Takte. Wähle eine kürzere Länge.",
  "refused.missing": "Hier fehlt eine Angabe.",
  "refused.mp3_bitrate": "Eine mp3 mit {rate} Hz hat höchstens {most} kbit/s.",
  "refused.needs_bpm": "Ein Loop braucht Schläge pro Minute.",
  "refused.needs_engine": "Dieser Server kann das nicht.",
  "refused.needs_extra":
    "Dieser Server liest {format} nicht. Wähle ein anderes Format, zum Beispiel wav, flac oder mp3.",
  "refused.needs_guidance": "Das braucht eine Guidance über 1.",
  "refused.needs_loudness":
    "Das braucht den Pegel nach loudness. Wähle ihn oder lass dieses Feld, wie es war.",
  "refused.needs_prompt": "Das braucht eine Beschreibung.",
  "refused.needs_sound": "Das braucht eigenes Audio.",
  "refused.needs_sound_to_continue": "Wähle das Audio, das fortgesetzt werden soll.",
  "refused.needs_style_sound":
    "Das braucht eigenes Audio, dem die Musik folgt, statt es fortzusetzen.",
  "refused.no_audio": "Die Datei enthält keinen Ton.",
  "refused.no_length": "Im Kopf der Datei fehlt die Länge. Speichere sie neu.",
  "refused.no_style_model":
    "Dieses Modell übernimmt keinen Stil. Wähle musicgen-style oder entferne das Audio.",
  "refused.not_a_melody":
    "Dieses Modell folgt nur Text. Wähle ein Melodie-Modell oder setze den Clip fort.",
  "refused.not_an_object": "Der Server kann diesen Aufruf nicht lesen. Lade die Seite neu.",
  "refused.not_audio":
    "Die Datei ist kein lesbares Audio, oder sie ist beschädigt. Wähle eine andere, zum Beispiel wav, flac oder mp3.",
  "refused.not_finite": "Die Datei enthält ungültige Abtastwerte (NaN oder unendlich).",
  "refused.not_your_upload":
    "Dieses Audio ist nicht mehr auf dem Server. Wähle es noch einmal aus.",
  "refused.number_between": "Wähle eine Zahl von {low} bis {high}.",
  "refused.number_from": "Wähle eine Zahl ab {low}.",
  "refused.number_to": "Wähle eine Zahl bis {high}.",
  "refused.opus_rate": "Opus hat immer {rate} Hz. Lass die Abtastrate leer.",
  "refused.out_of_limits": "Die Datei braucht zum Lesen zu viel Speicher oder Zeit.",
  "refused.peak_without_level":
    "Ohne Pegel gibt es keinen höchsten Spitzenwert. Wähle einen Pegel oder lass dieses Feld, wie es war.",
  "refused.prompt_with_prompts": "Mehrere Beschreibungen ersetzen die eine oben.",
  "refused.sections_count": "Füge 1 bis {most} Abschnitte hinzu.",
  "refused.sections_too_long": "Alle Abschnitte zusammen haben höchstens {most} s.",
  "refused.sections_too_short": "Jeder Abschnitt muss mindestens {least} s haben.",
  "refused.sections_with_continuation":
    "Ein fortgesetzter Clip hat keine Abschnitte. Entferne sie oder lass die Musik dem Audio folgen.",
  "refused.sections_with_loop":
    "Ein Loop hat keine Abschnitte. Entferne sie oder schalte den Loop ab.",
  "refused.sections_with_prompts":
    "Wähle entweder Abschnitte oder weitere Beschreibungen, nicht beides.",
  "refused.sound_fills_clip":
    "Das Audio ist so lang wie der Clip ({seconds} s) und zählt als Teil davon. Wähle einen längeren Clip oder setze einen Ausschnitt fort.",
  "refused.start_after_end": "Der Anfang muss vor dem Ende des Audios liegen, bei {end} s.",
  "refused.style_range": "Wähle mit diesem Modell eine Zahl von {low} bis {high}.",
  "refused.style_too_short": "Für seinen Stil muss das Audio mindestens {least} s haben.",
  "refused.text_too_long": "Das sind zu viele Zeichen. Höchstens {most} sind erlaubt.",
  "refused.tokens_continued":
    "Wenn dieses Audio fortgesetzt wird, lassen sich keine Tokens einbetten.",
  "refused.tokens_decoder": "Tokens lassen sich nur mit dem Decoder {needed} einbetten.",
  "refused.tokens_format": "Tokens lassen sich nur in wav und flac einbetten.",
  "refused.too_large": "Die Datei enthält zu viele Abtastwerte. Wähle eine kürzere.",
  "refused.too_long": "Die Datei ist länger als {most} s.",
  "refused.too_many_channels": "Die Datei hat mehr als {most} Kanäle.",
  "refused.too_many_entries": "Das sind zu viele auf einmal. Höchstens {most} sind erlaubt.",
  "refused.too_many_pieces": "Die Datei besteht aus mehr als {most} Teilen. Speichere sie neu.",
  "refused.too_many_prompts":
    "Zu viele Beschreibungen. Die Grenze liegt bei {most}, wenn die Varianten auf {variations} stehen.",
  "refused.too_short_to_continue": "Zum Fortsetzen braucht der Ton mindestens {least} s.",
  "refused.too_short_to_follow": "Der Ton ist zu kurz, um ihm zu folgen.",
  "refused.unknown_codec": "Die Datei enthält einen unbekannten Codec. Wähle ein anderes Format.",
  "refused.unknown_name": "Der Server kennt dieses Feld nicht. Lade die Seite neu.",
  "refused.unreadable": "Die Datei lässt sich nicht lesen ({why}).",
  "refused.web_address": "Gib eine http- oder https-Adresse mit höchstens {most} Zeichen ein.",
  "refused.whole_between": "Wähle eine ganze Zahl von {low} bis {high}.",
  "refused.whole_from": "Wähle eine ganze Zahl ab {low}.",
  "refused.wrong_kind": "Hier passt die Art der Angabe nicht, zum Beispiel Text statt einer Zahl.",
};
