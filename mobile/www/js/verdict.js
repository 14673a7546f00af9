import { CAUSES } from "./trust.js";
import { className, percent, say } from "./words.js";

/**
 * How an answer is to be taken, as on the page of `sonoforge classify --html`, and what to do next.
 *
 * @param {import("./classifier.js").Result} result
 * @returns {{look: "no" | "open" | "clear", heading: string, advice: string}}
 */
export function verdict(result) {
  const { label, best, trust, set, quality } = result;
  const classes = set.map(className);
  if (label !== best) return { look: "no", heading: say("uncertain"), advice: say("uncertain advice") };
  if (!trust.in_distribution) {
    const why = trust.causes.includes(CAUSES.NOT_ULTRASOUND) ? "no scan advice" : "do not use advice";
    return { look: "no", heading: say("do not use"), advice: say(why) };
  }
  if (!set.length) return { look: "no", heading: say("nothing fits"), advice: say("nothing fits advice") };
  if (set.length > 1) {
    const heading = say("open", { classes: classes.join(` ${say("or")} `) });
    return { look: "open", heading, advice: say("open advice") };
  }
  if (quality.flags.length || trust.causes.includes(CAUSES.POOR_SCAN)) {
    return { look: "open", heading: say("poor", { name: classes[0] }), advice: say("poor advice") };
  }
  return { look: "clear", heading: classes[0], advice: say("clear advice", { share: percent(result.probabilities[best]) }) };
}
