import { className, say } from "./words.js";

/**
 * How an answer is to be taken, as on the page of `sonoforge classify --html`.
 *
 * @param {import("./classifier.js").Result} result
 * @returns {{rank: number, look: "no" | "open" | "clear", heading: string, advice: string}} The worst has rank 1.
 */
export function verdict(result) {
  const { label, best, trust, set, quality } = result;
  const classes = set.map(className);
  if (label !== best) return { rank: 0, look: "no", heading: say("uncertain"), advice: say("uncertain advice") };
  if (!trust.in_distribution) return { rank: 1, look: "no", heading: say("do not use"), advice: say("do not use advice") };
  if (!set.length) return { rank: 2, look: "no", heading: say("nothing fits"), advice: say("nothing fits advice") };
  if (set.length > 1) {
    const heading = say("open", { classes: classes.join(` ${say("or")} `) });
    return { rank: 3, look: "open", heading, advice: say("open advice") };
  }
  if (quality.flags.length) {
    return { rank: 4, look: "open", heading: say("poor", { name: classes[0] }), advice: say("poor advice") };
  }
  return { rank: 5, look: "clear", heading: classes[0], advice: say("clear advice") };
}
