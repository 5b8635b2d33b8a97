/** German labels and hints of the request's fields, by the field's name. */
export const FIELDS_DE = {
  prompt: {
    label: "Beschreibung",
    hint: "Beschreibung der Musik. Darf nur leer sein, wenn es eigenes Audio gibt.",
  },
  model_version: {
    label: "Modell",
    hint:
      "Das Modell; es wird geladen, falls nötig. Alle außer demo sind Metas Gewichte mit der " +
      "Lizenz CC-BY-NC-4.0: keine kommerzielle Nutzung. demo ist ein Spielzeug. Melodie-Modelle " +
      "folgen eigenem Audio, Stereo-Modelle erzeugen zwei Kanäle.",
  },
  prompts: {
    label: "Weitere Beschreibungen, eine je Zeile",
    hint:
      "Mehrere Beschreibungen statt einer; jede ergibt eigene Clips. Beschreibungen mal Varianten " +
      "dürfen höchstens 8 sein.",
  },
  negative_prompt: {
    label: "Negative Beschreibung",
    hint: "Beschreibung dessen, wie die Musik nicht klingen soll. Braucht eine Guidance über 1.",
  },
  sections: {
    label: "Abschnitte",
    hint:
      "Ein Clip mit wechselnden Beschreibungen in bis zu 32 Abschnitten. Die Musik läuft durch. " +
      "Die Beschreibung oben wird jedem Abschnitt vorangestellt; deren Längen ersetzen die Länge oben.",
  },
  duration: {
    label: "Länge in Sekunden",
    hint: "Länge des Clips. Beim Fortsetzen zählt der fortgesetzte Teil mit. 0,1 bis 300 Sekunden.",
  },
  extend_stride: {
    label: "Schrittweite, Sekunden",
    hint:
      "Clips über 30 s entstehen in Fenstern von 30 s: Sekunden neuer Musik in jedem, ein Drittel " +
      "davon in AudioGens Fenstern von 10 s. Ein kleinerer Wert gibt dem Modell mehr Zusammenhang und dauert länger. 1 bis 29 Sekunden.",
  },
  variations: {
    label: "Varianten",
    hint: "Anzahl der Clips je Beschreibung, mit Seed, Seed+1 und so weiter. 1 bis 8.",
  },
  seed: {
    label: "Seed",
    hint:
      "Macht das Ergebnis auf gleichartigen Rechnern wiederholbar. Leer oder mit -1 wird einer " +
      "ausgelost und genannt. -1 bis 4294967295.",
  },
  input_audio: {
    label: "Audiodatei, höchstens 100 MB",
    hint: "Beim Fortsetzen: die Musik davor. Sonst: eine Melodie (Melodie-Modelle) oder ein Stil (Stil-Modelle).",
  },
  continuation: {
    label: "Diesen Clip fortsetzen",
    hint: "Setzt das Audio fort. Der Clip beginnt mit dem fortgesetzten Teil. Braucht eigenes Audio.",
  },
  continuation_start: {
    label: "Ab Sekunde",
    hint: "Anfang des Ausschnitts, der fortgesetzt wird oder dem die Musik folgt. Braucht Audio.",
  },
  continuation_end: {
    label: "Bis Sekunde",
    hint: "Ende dieses Ausschnitts; -1 ist das Ende der Datei. Braucht eigenes Audio.",
  },
  style_seconds: {
    label: "Stil: gehörte Sekunden",
    hint:
      "Länge des Ausschnitts, dessen Stil übernommen wird, aus der Mitte des Audios; sonst 3. " +
      "1,5 bis 4,5 Sekunden. Braucht ein Stil-Modell und eigenes Audio.",
  },
  style_detail: {
    label: "Stil: Genauigkeit",
    hint:
      "Mit 1 ähnelt die Musik dem Ausschnitt nur ungefähr, mit mehr genauer; sonst 3. 1 bis 6. " +
      "Braucht ein Stil-Modell und eigenes Audio.",
  },
  text_guidance: {
    label: "Stil: Gewicht der Beschreibung",
    hint:
      "Über 1 zählt die Beschreibung mehr als der Stil. Leer werden beide als eins geführt; getrennt " +
      "dauert es um die Hälfte länger. 0 bis 20. Braucht Stil-Modell, Audio und Beschreibung.",
  },
  top_k: {
    label: "Top k",
    hint:
      "Wählt aus den k wahrscheinlichsten Tokens. Mit 0 hier und bei Top p nehmen alle teil. " +
      "0 bis 2048.",
  },
  top_p: {
    label: "Top p",
    hint:
      "Wählt statt nach Top k aus den wahrscheinlichsten Tokens mit dieser gemeinsamen " +
      "Wahrscheinlichkeit; 0 schaltet das ab. 0 bis 1.",
  },
  temperature: {
    label: "Temperatur",
    hint:
      "Höhere Werte bringen mehr Abwechslung; 0 nimmt immer das wahrscheinlichste Token. " +
      "Mindestens 0.",
  },
  classifier_free_guidance: {
    label: "Guidance",
    hint:
      "Wie stark die Beschreibung wirkt; 1 schaltet die Guidance ab und ist schneller, 0 übergeht " +
      "die Beschreibung. Mindestens 0.",
  },
  loop: {
    label: "Einen Loop erzeugen",
    hint:
      "Ganze Takte, die sich ohne Naht wiederholen; die Länge wird auf Takte gerundet. Braucht " +
      "Schläge pro Minute.",
  },
  bpm: {
    label: "Schläge pro Minute",
    hint: "Tempo des Loops; es kommt zur Beschreibung hinzu. 30 bis 300.",
  },
  beats_per_bar: { label: "Schläge je Takt", hint: "Schläge in jedem Takt des Loops. 2 bis 12." },
  trim_silence: {
    label: "Stille an beiden Enden abschneiden",
    hint: "Der Clip kann dadurch kürzer werden.",
  },
  fade_in: { label: "Einblenden, Sekunden", hint: "Länge der Einblendung. 0 bis 30 Sekunden." },
  fade_out: { label: "Ausblenden, Sekunden", hint: "Länge der Ausblendung. 0 bis 30 Sekunden." },
  steady_level: {
    label: "Pegel langer Musik gleichmäßig halten",
    hint:
      "Gleicht langsame Schwankungen der Lautheit in Clips über 30 s aus. Abschnitte behalten ihre " +
      "Pegel.",
  },
  normalization_strategy: {
    label: "Pegel nach",
    hint: "Verfahren, nach dem der Pegel gesetzt wird.",
  },
  target_loudness: {
    label: "Lautheit, LUFS",
    hint: "Angestrebte Lautheit. -40 bis -5 LUFS. Braucht den Pegel nach loudness.",
  },
  true_peak_ceiling: {
    label: "Höchster Spitzenwert, dBTP",
    hint:
      "Höchster Wert der Wellenform, auch zwischen den Abtastwerten. Ein Limiter hält ihn ein. " +
      "-12 bis -0,1 dBTP. Geht nicht mit dem Pegel nach none.",
  },
  output_format: { label: "Format", hint: "Dateiformat." },
  bit_depth: {
    label: "Bittiefe",
    hint: "Bits je Abtastwert bei wav und flac. float sind 32 Bit; flac nimmt dann 24.",
  },
  sample_rate: {
    label: "Abtastrate, Hz",
    hint: "Standard ist die des Modells, 32000 oder 16000. opus hat immer 48000.",
  },
  bitrate: {
    label: "Bitrate, kbit/s",
    hint:
      "Bitrate von mp3 und opus; Standard sind 320, bei opus 96 je Kanal. Braucht das Format mp3 " +
      "oder opus.",
  },
  save_tokens: {
    label: "Tokens zum Fortsetzen einbetten",
    hint:
      "Legt die Tokens des Modells in die Datei, sodass das Fortsetzen ohne Encoder auskommt. " +
      "Braucht das Format wav oder flac.",
  },
  decoder: {
    label: "Decoder",
    hint:
      "Netz, das aus den Tokens des Modells Klang macht. multi_band_diffusion dauert viel länger und " +
      "hat eigene Gewichte (facebook/multiband-diffusion, CC-BY-NC-4.0: keine kommerzielle Nutzung). " +
      "Es braucht ein Modell mit 32 kHz und PyTorch; Live-Klang kommt am Ende.",
  },
  stems: {
    label: "Einzelspuren: Schlagzeug, Bass, Gesang und Übriges",
    hint: "Macht außerdem eine Datei je Instrumentengruppe: Schlagzeug, Bass, Gesang und Übriges.",
  },
  midi: {
    label: "Noten als MIDI",
    hint: "Schreibt außerdem die Noten jedes Clips als MIDI-Datei. Schlagzeug hat keine Noten.",
  },
  priority: { label: "Priorität", hint: "Höher ist früher. -10 bis 10." },
  webhook_url: {
    label: "Webhook",
    hint: "Eine http(s)-Adresse, die nach dem Ende des Auftrags aufgerufen wird.",
  },
};
