/** How much work one neighbour can make us do: tokens for signatures to check and for questions to answer. Pure. */
import type { Clock } from '../base/clock.ts';

/** A check takes 86 µs (11,600 a second): a hostile neighbour takes less than 1 % of one core. */
const VERIFY_PER_SECOND = 100;
/** After a join or a partition each node's note comes once, and once more while they settle; some more for small LANs. */
const VERIFY_BURST_PER_NODE = 2;
const VERIFY_BURST = 64;
/** What is not even a note, or is signed by somebody else, costs its bringer as much as so many honest ones. */
const REFUSED_COST = 8;

/** Questions with an answer that can be long: digests, summaries that differ, notes that are old. */
const ANSWERS_PER_SECOND = 2;
const ANSWER_BURST = 16;

/**
 * News of one origin, whoever brings it: an honest one tells three changes at once and then one a second (link-state.ts), and slow
 * wires bunch them. All nodes pass each on to all others, so more would be one liar's flood over every link (OSPF: MinLSArrival).
 */
const NEWS_PER_SECOND = 2;
const NEWS_BURST = 16;

interface Budget {
  verify: number;
  answer: number;
  at: number;
}

export interface NeighbourBudgets {
  /** One signature of a note that this neighbour brought. False: it has brought too many. */
  verify(node: number): boolean;
  refused(node: number): void;
  answer(node: number): boolean;
  /** A newer note that this origin has signed. False: too soon; it will be asked for later. */
  news(origin: number): boolean;
  keep(wanted: (node: number) => boolean): void;
}

/** `nodes`: how many the plan has. */
export function createNeighbourBudgets(clock: Pick<Clock, 'now'>, nodes: () => number): NeighbourBudgets {
  const all = new Map<number, Budget>();
  const told = new Map<number, { tokens: number; at: number }>();

  function of(node: number): Budget {
    const now = clock.now();
    const burst = VERIFY_BURST + nodes() * VERIFY_BURST_PER_NODE;
    let budget = all.get(node);
    if (!budget) all.set(node, (budget = { verify: burst, answer: ANSWER_BURST, at: now }));
    const seconds = (now - budget.at) / 1000;
    budget.at = now;
    budget.answer = Math.min(ANSWER_BURST, budget.answer + seconds * ANSWERS_PER_SECOND);
    budget.verify = Math.min(burst, budget.verify + seconds * VERIFY_PER_SECOND);
    return budget;
  }

  return {
    verify(node) {
      const budget = of(node);
      if (budget.verify < 1) return false;
      budget.verify--;
      return true;
    },
    refused(node) {
      of(node).verify -= REFUSED_COST;
    },
    answer(node) {
      const budget = of(node);
      if (budget.answer < 1) return false;
      budget.answer--;
      return true;
    },
    news(origin) {
      const now = clock.now();
      const { tokens, at } = told.get(origin) ?? { tokens: NEWS_BURST, at: now };
      const left = Math.min(NEWS_BURST, tokens + ((now - at) / 1000) * NEWS_PER_SECOND);
      told.set(origin, { tokens: left < 1 ? left : left - 1, at: now });
      return left >= 1;
    },
    keep(wanted) {
      for (const node of all.keys()) if (!wanted(node)) all.delete(node);
    },
  };
}
