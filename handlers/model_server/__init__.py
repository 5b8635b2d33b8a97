"""One model behind HTTP, as SageMaker, Vertex AI and Cloud Run call it. Imports no torch.

| route | answer |
|---|---|
| `GET /ping`, Vertex AI's health route | 200 once the model is ready, else 503 |
| `POST /invocations`, Vertex AI's predict route | the clips of a request |
| `GET /execution-parameters` | limits of a batch transform |

A body is one of these:

| body | answer |
|---|---|
| an object with the fields of a request | the reply of `handlers.reply`, or the clip itself (`Accept: audio/...`) |
| `{"instances": [...], "parameters": {...}}` | `{"predictions": [...]}` (Vertex AI) |
| JSON lines, each the fields of a request | a line each: a reply, or `{"error": ...}` |
| a sound (`Content-Type: audio/...`) | as for an object; see below for the fields |

The fields beside a sound come from the query string, or in its form from
`X-Amzn-SageMaker-Custom-Attributes`, because SageMaker hands on no query string. An object or a sound
with `stream` true is answered by live sound in chunks (wav, mp3, ogg) while the music is made.
"""  # noqa: E501
