// Guarantee: the contract of every event is written down, the examples, the types and the readers'
// expectations agree with it, and it grows only in ways that its released form allows.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect, test } from '@jest/globals';
import ts from 'typescript';

import { projectRoot } from '#libs/platform/config';
import { breakingChanges, readSchemas, SchemaSet, type JsonSchema } from '#libs/platform/schema';

const folder = join(projectRoot(), 'libs/events');
const events = readSchemas(join(folder, 'schemas'));
const parts = readSchemas(join(folder, 'schemas/parts'));
const schemas = new SchemaSet([...events.values(), ...parts.values()]);

/** Which interface of `libs/events` is the type of an event, or of the part that its schema names. */
const INTERFACES: Readonly<Record<string, string>> = {
  'request.completed.v1': 'RequestCompletedV1',
  'request.rejected.v1': 'RequestRejectedV1',
  'usage.rated.v1': 'UsageRatedV1',
  'policy.changed.v1': 'PolicyStateV1',
  'budget.threshold.v1': 'BudgetThresholdV1',
  'price.published.v1': 'PricePublishedV1',
  'key-state.v1': 'KeyStateV1',
  'key-revocation.v1': 'KeyRevocationV1',
  'team-state.v1': 'TeamStateV1',
  'budget-definition.v1': 'BudgetDefinitionV1',
  'budget-state.v1': 'BudgetStateV1',
  'emitter-range.v1': 'EmitterRangeV1',
  'envelope.v1': 'EventHeaders',
};

/** Members of each interface of `libs/events`: `name`, or `name?` when it is optional. */
function membersOfInterfaces(): ReadonlyMap<string, readonly string[]> {
  const source = join(folder, 'src');
  const found = new Map<string, readonly string[]>();
  for (const file of readdirSync(source).filter((name) => name.endsWith('.ts'))) {
    const text = readFileSync(join(source, file), 'utf8');
    for (const node of ts.createSourceFile(file, text, ts.ScriptTarget.ES2024, true).statements) {
      if (!ts.isInterfaceDeclaration(node)) continue;
      const members = node.members.filter(ts.isPropertySignature).map((member) => {
        const name = ts.isStringLiteral(member.name) ? member.name.text : member.name.getText();
        return member.questionToken === undefined ? name : `${name}?`;
      });
      found.set(node.name.text, members.toSorted());
    }
  }
  return found;
}

function membersOfSchema(schema: JsonSchema): readonly string[] {
  const required = new Set(schema['required'] as readonly string[]);
  return Object.keys(schema['properties'] as object)
    .map((name) => (required.has(name) ? name : `${name}?`))
    .toSorted();
}

function fixture(type: string, size: string): Record<string, unknown> {
  return JSON.parse(readFileSync(join(folder, `fixtures/${type}.${size}.json`), 'utf8'));
}

test('a schema is identified by the data schema that records of its type name', () => {
  const named = [...events].map(([type, schema]) => [type, schema['$id']]);
  expect(named).toEqual([...events.keys()].map((type) => [type, `urn:tollgate:event:${type}`]));
});

test('every schema has the members of its type, and the same ones are optional', () => {
  const interfaces = membersOfInterfaces();
  const own = [...events, ...parts].filter(([name]) => INTERFACES[name] !== undefined);
  expect(own.map(([name]) => name).toSorted()).toEqual(Object.keys(INTERFACES).toSorted());
  for (const [name, schema] of own) {
    expect([name, membersOfSchema(schema)]).toEqual([name, interfaces.get(INTERFACES[name]!)]);
  }
  const others = [...events].filter(([name]) => INTERFACES[name] === undefined);
  const referred = others.map(([, schema]) => String(schema['$ref']).split(':').at(-1)!);
  expect(referred.filter((part) => INTERFACES[part] === undefined)).toEqual([]);
});

test('every type has a minimal and a full example, and no example is left over', () => {
  const expected = [...events.keys()].flatMap((type) => [
    `${type}.full.json`,
    `${type}.minimal.json`,
  ]);
  expect(readdirSync(join(folder, 'fixtures')).toSorted()).toEqual(expected.toSorted());
});

test.each([...events.keys()])(
  '%s: examples conform, with members of a later release too',
  (type) => {
    const id = `urn:tollgate:event:${type}`;
    for (const size of ['minimal', 'full']) {
      const data = fixture(type, size);
      expect(schemas.faultsOf(id, data)).toEqual([]);
      expect(schemas.faultsOf(id, { ...data, added_later: [{}] })).toEqual([]);
    }
  },
);

test.each([...events.keys()])('%s: a missing or mistyped member does not conform', (type) => {
  const id = `urn:tollgate:event:${type}`;
  const data = fixture(type, 'minimal');
  for (const name of Object.keys(data)) {
    const { [name]: _removed, ...rest } = data;
    expect([name, schemas.faultsOf(id, rest)]).not.toEqual([name, []]);
    for (const wrong of [-1, [null], { a: null }]) {
      expect([name, wrong, schemas.faultsOf(id, { ...rest, [name]: wrong })]).not.toEqual([
        name,
        wrong,
        [],
      ]);
    }
  }
});

test.each(['schemas', 'schemas/parts'])('%s changed by additions only since released', (place) => {
  const current = readSchemas(join(folder, place));
  const released = readSchemas(join(folder, place.replace('schemas', 'schemas/released')));
  expect(released.size).toBeGreaterThan(0);
  const broken = [...released].flatMap(([name, schema]) =>
    breakingChanges(schema, current.get(name) ?? {}, name),
  );
  expect(broken).toEqual([]);
});

test('what conforms to a schema of today conforms to its released form, where there is one', () => {
  const released = readSchemas(join(folder, 'schemas/released'));
  const former = new SchemaSet([
    ...released.values(),
    ...readSchemas(join(folder, 'schemas/released/parts')).values(),
  ]);
  for (const type of released.keys()) {
    for (const size of ['minimal', 'full']) {
      expect(former.faultsOf(`urn:tollgate:event:${type}`, fixture(type, size))).toEqual([]);
    }
  }
});
