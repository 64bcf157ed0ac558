/** Oldest Node that has what the product rests on: `node:sqlite` without a flag, and stable. */
const NEEDED = [24, 15] as const;

/**
 * What is wrong with a version of Node, in one line that says what to do; null when it will do.
 * Entry points ask before they load anything else, because `node:sqlite` fails while linking.
 * @param version `process.versions.node`
 */
export function nodeFault(version: string): string | null {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const isEnough = major > NEEDED[0] || (major === NEEDED[0] && minor >= NEEDED[1]);
  if (isEnough) return null;
  return `Node ${NEEDED.join('.')} is needed, this is ${version}: run it through npm, or npm rebuild node`;
}
