/** Labels and hints of the request's fields: the server's own in English, else from a table. */

import { keepUnits, language } from "./language.js";
import { FIELDS } from "./request_fields.js";
import { FIELDS_DE } from "./texts/fields_de.js";

const TABLES = { de: FIELDS_DE };
const table = TABLES[language()] ?? {};

export const labelOf = (name) => keepUnits((table[name] ?? FIELDS[name]).label);
export const hintOf = (name) => keepUnits((table[name] ?? FIELDS[name]).hint);
