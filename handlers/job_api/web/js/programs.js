/** Programs that send a request to the API, for `recipe.js`. They stay English in every language. */

const json = (value) => JSON.stringify(value, null, 2);

/** A value of JSON as Python writes it. JSON's escapes of texts are Python's too. */
function python(value, depth = 0) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const [before, after] = [" ".repeat(4 * depth + 4), " ".repeat(4 * depth)];
  const isList = Array.isArray(value);
  const parts = isList
    ? value.map((part) => python(part, depth + 1))
    : Object.entries(value).map(([name, part]) => `${JSON.stringify(name)}: ${python(part, depth + 1)}`);
  const lines = parts.map((part) => `${before}${part},\n`).join("");
  const [open, close] = isList ? "[]" : "{}";
  return `${open}\n${lines}${after}${close}`;
}

/** Shell commands: curl, grep and sed. A here-document in quotes leaves every character alone. */
function asCurl({ origin, body, needsKey }) {
  const key = needsKey ? ' -H "Authorization: Bearer $MUSICGEN_API_KEY"' : "";
  const extension = body.output_format ?? "wav";
  const clips = (body.variations ?? 1) * (body.prompts?.length ?? 1);
  const numbers = Array.from({ length: clips }, (_, n) => (n ? `-${n + 1}` : '""')).join(" ");
  return `server='${origin}'
job=$(curl -sS --fail-with-body "$server/v1/generate"${key} \\
  -H 'Content-Type: application/json' --data-binary @- <<'END' |
${json(body)}
END
  sed -n 's/.*"job_id": *"\\([^"]*\\)".*/\\1/p')
until [ -z "$job" ] || curl -sS "$server/v1/status/$job"${key} |
  grep -Eq '"status": *"(completed|failed|cancelled)"'
do sleep 1; done
for clip in ${numbers}
do curl -sSfL "$server/v1/audio/$job$clip.${extension}"${key} -o "music$clip.${extension}"; done
`;
}

/** A program for Python 3 with httpx. */
function asPython({ origin, body, needsKey }) {
  const headers = needsKey
    ? `{"Authorization": f"Bearer {os.environ['MUSICGEN_API_KEY']}"}`
    : "{}";
  return `${needsKey ? "import os\n" : ""}import time
from pathlib import Path

import httpx

request = ${python(body)}
headers = ${headers}
with httpx.Client(base_url=${JSON.stringify(origin)}, headers=headers, timeout=60) as server:
    answer = server.post("/v1/generate", json=request)
    if answer.is_error:
        raise SystemExit(answer.text)
    job = answer.json()["job_id"]
    while True:
        status = server.get(f"/v1/status/{job}").raise_for_status().json()
        if status["status"] in ("completed", "failed", "cancelled"):
            break
        time.sleep(1)
    if status["status"] != "completed":
        raise SystemExit(status["error"])
    for number, clip in enumerate(status["result"]["clips"], 1):
        sound = server.get(clip["url"], follow_redirects=True).raise_for_status()
        Path(f"music-{number}.${body.output_format ?? "wav"}").write_bytes(sound.content)
`;
}

/** A module for Node.js 18 or newer. */
function asJavaScript({ origin, body, needsKey }) {
  const key = needsKey ? "{ Authorization: `Bearer ${process.env.MUSICGEN_API_KEY}` }" : "{}";
  return `import { writeFile } from "node:fs/promises";

const server = ${JSON.stringify(origin)};
const headers = ${key};
const request = ${json(body)};

async function call(path, options = {}) {
  const answer = await fetch(server + path, {
    ...options,
    headers: { ...headers, ...options.headers },
  });
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}

const submitted = await call("/v1/generate", {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(request),
});
const { job_id: job } = await submitted.json();
let status;
do {
  await new Promise((resolve) => setTimeout(resolve, 1000));
  status = await (await call(\`/v1/status/\${job}\`)).json();
} while (!["completed", "failed", "cancelled"].includes(status.status));
if (status.status !== "completed") throw new Error(JSON.stringify(status.error));
for (const [index, { url }] of status.result.clips.entries()) {
  const sound = await (await call(url)).arrayBuffer();
  await writeFile(\`music-\${index + 1}.${body.output_format ?? "wav"}\`, Buffer.from(sound));
}
`;
}

/** Writers of programs by the name of their language: `({origin, body, needsKey}) => text`. */
export const PROGRAMS = { curl: asCurl, Python: asPython, JavaScript: asJavaScript };
