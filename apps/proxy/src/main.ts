/** Oldest Node that the product runs on. */
const NEEDED = [24, 15] as const;

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < NEEDED[0] || (major === NEEDED[0] && minor < NEEDED[1])) {
  process.stderr.write(
    `Node ${NEEDED.join('.')} is needed, this is ${process.versions.node}: run it through npm, or npm rebuild node\n`,
  );
  process.exit(2);
}
const { run } = await import('./start.js');
await run();
