// Guarantee: the house rules about the code itself hold. Each test reads the sources as text or as a
// syntax tree and lists every place that breaks its rule, so that one run shows all of them.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

import { expect, test } from '@jest/globals';
import ts from 'typescript';

const root = fileURLToPath(new URL('../../', import.meta.url));

const FOLDERS = ['apps', 'libs', 'migrations', 'test', 'scripts', 'bin', 'docs', '.ci'];
const MAX_FILE_LINES = 400;
const MAX_FUNCTION_LINES = 70;
const BANNED_NAMES = /(^|[-.])(utils?|helpers?|common|mappers?|managers?)([-.]|$)/;
const TEST_CODE = /\.spec\.ts$|\.contract\.ts$|(^|\/)test\/|^libs\/testing\//;

/** Calls that have one home each; everywhere else the value is injected. */
const HOMES: Readonly<Record<string, RegExp>> = {
  'process.env': /^libs\/platform\/config\/|^libs\/testing\/|(^|\/)test\/|\.spec\.ts$/,
  'Date.now': /^libs\/kernel\/src\/clock\.ts$/,
  'new Date': /^libs\/kernel\/src\/clock\.ts$/,
  'Math.random': /^$/,
  'console.': /^$/,
};

interface Source {
  readonly path: string;
  readonly text: string;
  readonly tree: ts.SourceFile;
}

function* walk(folder: string): Generator<string> {
  if (!existsSync(join(root, folder))) return;
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) {
      if (entry.name !== 'node_modules') yield* walk(path);
    } else yield path;
  }
}

const rootFiles = readdirSync(root, { withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name !== 'package-lock.json')
  .map((entry) => entry.name);
const paths = [...rootFiles, ...FOLDERS.flatMap((folder) => [...walk(folder)])].toSorted();
const sources: readonly Source[] = paths.filter((path) => path.endsWith('.ts')).map(parse);

function parse(path: string): Source {
  const text = readFileSync(join(root, path), 'utf8');
  return { path, text, tree: ts.createSourceFile(path, text, ts.ScriptTarget.ES2024, true) };
}

function isCode(line: string): boolean {
  return !/^\s*($|\/\/|\/\*|\*)/.test(line);
}

function place(source: Source, node: ts.Node, what: string): string {
  const { line } = source.tree.getLineAndCharacterOfPosition(node.getStart());
  return `${source.path}:${line + 1} ${what}`;
}

/** Every place of every source where the check finds something. */
function findings(check: (node: ts.Node, source: Source) => string | undefined): string[] {
  const found: string[] = [];
  for (const source of sources) {
    const visit = (node: ts.Node): void => {
      const what = check(node, source);
      if (what !== undefined) found.push(place(source, node, what));
      ts.forEachChild(node, visit);
    };
    visit(source.tree);
  }
  return found;
}

/** The module name of an import, a re-export or a dynamic import. */
function importedName(node: ts.Node): string | undefined {
  let name: ts.Node | undefined;
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) name = node.moduleSpecifier;
  if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
    name = node.arguments[0];
  }
  return name !== undefined && ts.isStringLiteral(name) ? name.text : undefined;
}

/** What may be used as a unit: a lib, an app, the migrations, the tests. */
function unitOf(path: string): string {
  const [first = '', second = ''] = path.split('/');
  return first === 'libs' || first === 'apps' ? `${first}/${second}` : first;
}

function hasModifier(node: ts.Node, kind: ts.SyntaxKind): boolean {
  return (
    ts.canHaveModifiers(node) && (ts.getModifiers(node) ?? []).some((one) => one.kind === kind)
  );
}

function hasDocstring(node: ts.Node): boolean {
  return ts.getJSDocCommentsAndTags(node).some((part) => ts.isJSDoc(part));
}

test('no file is longer than 400 lines of code', () => {
  const long = sources
    .filter((source) => !TEST_CODE.test(source.path))
    .map((source) => [source.path, source.text.split('\n').filter(isCode).length] as const)
    .filter(([, lines]) => lines > MAX_FILE_LINES);
  expect(long).toEqual([]);
});

test('no function is longer than 70 lines of code', () => {
  const long = findings((node, source) => {
    if (!ts.isFunctionLike(node) || /\.spec\.ts$|\.contract\.ts$/.test(source.path))
      return undefined;
    const lines = node.getText().split('\n').filter(isCode).length;
    return lines > MAX_FUNCTION_LINES ? `${lines} lines` : undefined;
  });
  expect(long).toEqual([]);
});

test('time, randomness, environment and console are used in their homes only', () => {
  const strays = findings((node, source) => {
    const used = bannedUse(node);
    return used !== undefined && !HOMES[used]!.test(source.path) ? used : undefined;
  });
  expect(strays).toEqual([]);
});

function bannedUse(node: ts.Node): string | undefined {
  if (ts.isNewExpression(node) && node.expression.getText() === 'Date') return 'new Date';
  if (!ts.isPropertyAccessExpression(node) || !ts.isIdentifier(node.expression)) return undefined;
  if (node.expression.text === 'console') return 'console.';
  const text = `${node.expression.text}.${node.name.text}`;
  return Object.hasOwn(HOMES, text) ? text : undefined;
}

test('money is never a number', () => {
  const numbers = findings((node) => {
    const isTyped =
      ts.isPropertySignature(node) ||
      ts.isPropertyDeclaration(node) ||
      ts.isParameter(node) ||
      ts.isVariableDeclaration(node);
    if (!isTyped || !/PicoUsd$|_pusd$/.test(node.name.getText())) return undefined;
    return node.type !== undefined && /\bnumber\b/.test(node.type.getText())
      ? `${node.name.getText()} is a number`
      : undefined;
  });
  expect(numbers).toEqual([]);
});

test('files are named for what they hold, in kebab-case', () => {
  const wrong = paths.filter((path) => {
    const name = basename(path);
    if (BANNED_NAMES.test(name.replace(/\.[^.]+$/, ''))) return true;
    return /\.(ts|mjs|sql)$/.test(name) && !/^[a-z0-9]+([-_.][a-z0-9]+)*$/.test(name);
  });
  expect(wrong).toEqual([]);
});

test('no test is left out and none runs alone', () => {
  const skips = findings((node) => {
    if (!ts.isPropertyAccessExpression(node)) return undefined;
    const base = node.expression.getText().split('.')[0] ?? '';
    const isTest = ['test', 'it', 'describe'].includes(base);
    const isLeft = ['only', 'skip', 'todo', 'failing'].includes(node.name.text);
    return isTest && isLeft ? node.getText() : undefined;
  });
  expect(skips).toEqual([]);
});

test('nothing is exported as default', () => {
  const defaults = findings((node) => {
    if (ts.isExportAssignment(node)) return 'export default';
    return hasModifier(node, ts.SyntaxKind.DefaultKeyword) ? 'export default' : undefined;
  });
  expect(defaults).toEqual([]);
});

test('every exported name has a docstring', () => {
  const bare: string[] = [];
  for (const source of sources) {
    if (source.path.endsWith('.spec.ts')) continue;
    const documented = new Set<string>();
    for (const node of source.tree.statements) {
      if (!hasModifier(node, ts.SyntaxKind.ExportKeyword)) continue;
      const name = exportedName(node);
      if (hasDocstring(node)) documented.add(name);
      // The value and the type of one name, and the overloads of one function, share a docstring.
      if (!documented.has(name)) bare.push(place(source, node, name));
    }
  }
  expect(bare).toEqual([]);
});

function exportedName(node: ts.Statement): string {
  if (ts.isVariableStatement(node)) return node.declarationList.declarations[0]!.name.getText();
  const { name } = node as ts.DeclarationStatement;
  return name?.getText() ?? node.getText().slice(0, 40);
}

test('relative imports end with .js and stay inside their lib or app', () => {
  const strays = findings((node, source) => {
    const name = importedName(node);
    if (name === undefined || !name.startsWith('.')) return undefined;
    if (!/\.(js|mjs|cjs|json)$/.test(name)) return `${name} has no suffix`;
    const target = relative(root, resolve(root, dirname(source.path), name))
      .split(sep)
      .join('/');
    return unitOf(target) === unitOf(source.path) ? undefined : `${name} leaves its unit`;
  });
  expect(strays).toEqual([]);
});

test('every migration and every decision record has a number of its own, without a gap', () => {
  const groups = new Map<string, number[]>();
  for (const path of paths) {
    const match = /^((?:migrations\/[^/]+(?:\/[^/]+)?)|docs\/adr)\/(\d{4})[-_][^/]+$/.exec(path);
    if (match === null || path.endsWith('.spec.ts')) continue;
    const [, folder, number] = match as unknown as [string, string, string];
    groups.set(folder, [...(groups.get(folder) ?? []), Number(number)]);
  }
  expect(groups.size).toBeGreaterThan(0);
  for (const [folder, numbers] of groups) {
    const expected = numbers.map((_, index) => index + 1);
    expect([folder, numbers.toSorted((a, b) => a - b)]).toEqual([folder, expected]);
  }
});

test('every decision record is in the index of records', () => {
  const index = readFileSync(join(root, 'docs/adr/README.md'), 'utf8');
  const records = paths
    .filter((path) => /^docs\/adr\/\d{4}-/.test(path))
    .map((path) => basename(path));
  expect(records.filter((record) => !index.includes(record))).toEqual([]);
});

test('every direct dependency is explained in docs/dependencies.md, with its pinned version', () => {
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const direct = {
    ...manifest.dependencies,
    ...manifest.optionalDependencies,
    ...manifest.devDependencies,
  } as Record<string, string>;
  const page = readFileSync(join(root, 'docs/dependencies.md'), 'utf8');
  const rows = page
    .split('\n')
    .map((line) => line.split('|').map((cell) => cell.trim().replaceAll('`', '')))
    .filter((cells) => cells.length > 3 && cells[2] !== 'version' && !cells[1]?.startsWith('-'));
  const explained = rows.map(([, name, version]) => `${name} ${version}`);
  const pinned = Object.entries(direct).map(
    ([name, version]) => `${name} ${version.replace(/^npm:.*@/, '')}`,
  );
  expect(explained.toSorted()).toEqual(pinned.toSorted());
});

test('every app and every lib with adapters has a README', () => {
  const units = new Set(
    sources
      .filter(({ path }) => /^apps\/|^libs\/[^/]+\/adapters\//.test(path))
      .map(({ path }) => unitOf(path)),
  );
  expect([...units].filter((unit) => !existsSync(join(root, unit, 'README.md')))).toEqual([]);
});

test('texts hold no machine path, no ownerless note and no hidden character', () => {
  const machinePath = new RegExp(String.raw`(^|[\s"'\`(=])/(work|home|root|Users)/[A-Za-z]`, 'm');
  const ownerless = new RegExp(
    `\\b(${['TO' + 'DO', 'FIX' + 'ME', 'X' + 'XX'].join('|')})\\b(?!\\()`,
  );
  const hidden =
    // oxlint-disable-next-line no-control-regex
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/;
  const faults = paths
    .filter((path) => /\.(ts|mjs|cjs|js|json|md|sql|sh)$|^bin\/|^\.ci\//.test(path))
    .flatMap((path) => {
      const text = readFileSync(join(root, path), 'utf8');
      const found: string[] = [];
      if (machinePath.test(text)) found.push(`${path} names a path of one machine`);
      if (ownerless.test(text)) found.push(`${path} has a note without owner and condition`);
      if (hidden.test(text)) found.push(`${path} has a control or invisible character`);
      return found;
    });
  expect(faults).toEqual([]);
});
