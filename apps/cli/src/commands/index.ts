import type { Command } from '../command.js';
import { BUDGET_COMMANDS } from './budget-commands.js';
import { DEAD_LETTER_COMMANDS } from './dead-letter-commands.js';
import { KEY_COMMANDS } from './key-commands.js';
import { PRICE_COMMANDS } from './price-commands.js';
import { REBUILD_COMMANDS } from './rebuild-commands.js';
import { TEAM_COMMANDS } from './team-commands.js';
import { USAGE_COMMANDS } from './usage-commands.js';

/** Every command, in the order of the help. */
export const COMMANDS: readonly Command[] = [
  ...KEY_COMMANDS,
  ...TEAM_COMMANDS,
  ...BUDGET_COMMANDS,
  ...USAGE_COMMANDS,
  ...PRICE_COMMANDS,
  ...DEAD_LETTER_COMMANDS,
  ...REBUILD_COMMANDS,
];
