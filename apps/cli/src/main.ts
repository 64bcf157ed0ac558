import { nodeFault } from '#libs/kernel';

const fault = nodeFault(process.versions.node);
if (fault !== null) {
  process.stderr.write(`${fault}\n`);
  process.exit(2);
}
const { run } = await import('./start.js');
process.exitCode = await run();
