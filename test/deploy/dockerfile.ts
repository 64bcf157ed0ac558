import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of the clone. */
export const PROJECT = fileURLToPath(new URL('../../../', import.meta.url));

/** One instruction of a Dockerfile, continued lines joined. */
export interface Instruction {
  /** Upper case. */
  readonly name: string;
  readonly value: string;
}

/** One stage: what follows a FROM. */
export interface Stage {
  readonly name: string;
  /** An image, or the name of a former stage. */
  readonly base: string;
  readonly instructions: readonly Instruction[];
}

/** The text of a file of the project. */
export function textOf(path: string): string {
  return readFileSync(join(PROJECT, path), 'utf8');
}

/** The stages of docker/Dockerfile in their order, by name. */
export function stagesOfDockerfile(): ReadonlyMap<string, Stage> {
  const stages = new Map<string, Stage>();
  let current: Instruction[] = [];
  for (const instruction of instructionsOf(textOf('docker/Dockerfile'))) {
    if (instruction.name !== 'FROM') {
      current.push(instruction);
      continue;
    }
    const match = /^(\S+) AS (\S+)$/.exec(instruction.value);
    if (match === null) throw new Error(`a stage without a name: FROM ${instruction.value}`);
    current = [];
    stages.set(match[2]!, { name: match[2]!, base: match[1]!, instructions: current });
  }
  return stages;
}

function instructionsOf(text: string): readonly Instruction[] {
  return text
    .split('\n')
    .filter((line) => !line.startsWith('#'))
    .join('\n')
    .replaceAll(/\\\n\s*/g, '')
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => {
      const [name = '', ...rest] = line.trim().split(/\s+/);
      return { name: name.toUpperCase(), value: rest.join(' ') };
    });
}

/** What a container of a target is started with. */
export interface Image {
  readonly target: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly user: string;
  /** ENTRYPOINT and CMD. */
  readonly command: readonly string[];
  /** Null when it has none. */
  readonly healthCheck: readonly string[] | null;
  readonly ports: readonly string[];
  readonly stopSignal: string;
  readonly volumes: readonly string[];
}

/** What a target and all it is based on say of its containers; the later wins. */
export function imageOf(target: string, stages = stagesOfDockerfile()): Image {
  const all: Instruction[] = [];
  for (let stage = stages.get(target); stage !== undefined; stage = stages.get(stage.base)) {
    all.unshift(...stage.instructions);
  }
  const values = (name: string): readonly string[] =>
    all.filter((one) => one.name === name).map(({ value }) => value);
  const last = (name: string): string => values(name).at(-1) ?? '';
  const health = last('HEALTHCHECK');
  return {
    target,
    environment: Object.fromEntries(values('ENV').flatMap(pairsOf)),
    user: last('USER'),
    command: [...wordsOf(last('ENTRYPOINT')), ...wordsOf(last('CMD'))],
    healthCheck: health.includes(' CMD ') ? wordsOf(health.split(' CMD ')[1]!) : null,
    ports: values('EXPOSE'),
    stopSignal: last('STOPSIGNAL'),
    volumes: values('VOLUME').flatMap(wordsOf),
  };
}

function pairsOf(value: string): (readonly [string, string])[] {
  return value.split(/\s+/).map((pair) => {
    const [name = '', ...rest] = pair.split('=');
    return [name, rest.join('=')];
  });
}

/** @throws SyntaxError when a command is not in the form that needs no shell */
function wordsOf(value: string): readonly string[] {
  return JSON.parse(value) as string[];
}

/** The targets that people build; the other stages are steps to them. */
export const IMAGES = [
  'auth',
  'proxy',
  'metering',
  'budget-enforcer',
  'reporting',
  'simulator',
  'migrate',
  'standalone',
] as const;
