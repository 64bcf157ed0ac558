import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';

import { messageOf } from '#libs/kernel';
import { compileSheets, type PriceEntry, type RoundedRate } from '#libs/pricing/core';

/** A sheet file that was refused whole. */
export interface RefusedSheetFile {
  readonly file: string;
  /** Every fault, with its place in the document. */
  readonly faults: readonly string[];
}

/** What a folder of price sheets amounts to. */
export interface LoadedPriceSheets {
  /** Entries of the sound files, files in order of name. */
  readonly entries: readonly PriceEntry[];
  /** Figures that were rounded to whole pico-dollars per token. */
  readonly rounded: readonly RoundedRate[];
  /** Files of which nothing was taken; empty when all is well. */
  readonly refused: readonly RefusedSheetFile[];
}

/** The schema stands in the same folder as the sheets it describes. */
const SCHEMA_SUFFIX = '.schema.json';

function parse(text: string): { readonly document: unknown } | { readonly fault: string } {
  try {
    return { document: JSON.parse(text) };
  } catch (error) {
    return { fault: `is not JSON: ${messageOf(error)}` };
  }
}

/**
 * Reads every `*.json` of a folder but JSON Schemas. A faulty file is refused whole and listed with
 * all its faults; what to do about it is the caller's decision.
 * @throws the file system's error when the folder or a file cannot be read
 */
export async function loadPriceSheets(directory: string): Promise<LoadedPriceSheets> {
  const names = (await readdir(directory))
    .filter((name) => name.endsWith('.json') && !name.endsWith(SCHEMA_SUFFIX))
    .sort();
  const entries: PriceEntry[] = [];
  const rounded: RoundedRate[] = [];
  const refused: RefusedSheetFile[] = [];
  for (const file of names) {
    const parsed = parse(await readFile(join(directory, file), 'utf8'));
    if ('fault' in parsed) {
      refused.push({ file, faults: [parsed.fault] });
      continue;
    }
    const compiled = compileSheets(parsed.document);
    if (!compiled.ok) {
      refused.push({ file, faults: compiled.faults });
      continue;
    }
    entries.push(...compiled.entries);
    rounded.push(...compiled.rounded);
  }
  return { entries, rounded, refused };
}
