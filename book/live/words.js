// "Words": the miniature's vocabulary as menus and as free text, guidance and a negative prompt.

const textModel = () => MANIFEST.models.find(({ tokenizer }) => tokenizer);

// The tokens of a text, as Stable Diffusion's tokenizer splits it: words, then byte pair encoding
// (Sennrich et al. 2016), which merges the pair of neighbours that comes first in the list.
function split_words(text) {
  const one = /<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+/gu;
  return text.normalize("NFC").toLowerCase().match(one) ?? [];
}

function tokens_of({ merges, vocabulary, end }, word) {
  if (word in vocabulary && word.startsWith("<|")) return [vocabulary[word]];
  const rank = new Map(merges.map((pair, k) => [pair.join(" "), k]));
  let symbols = Array.from(new TextEncoder().encode(word), (byte) => String.fromCharCode(byte > 126 ? 0xfffd : byte));
  symbols[symbols.length - 1] += "</w>";
  for (;;) {
    const ranks = symbols.slice(1).map((symbol, k) => rank.get(`${symbols[k]} ${symbol}`) ?? Infinity);
    const first = Math.min(...ranks);
    if (first === Infinity) return symbols.map((symbol) => vocabulary[symbol] ?? end);
    const merged = [];
    for (let k = 0; k < symbols.length; k++) merged.push(ranks[k] === first ? symbols[k] + symbols[++k] : symbols[k]);
    symbols = merged;
  }
}

// Token ids of a text, begun, ended and filled up to the length that the text encoder reads.
function tokenize(tokenizer, text) {
  const { length, start, end } = tokenizer;
  const ids = split_words(text).flatMap((word) => tokens_of(tokenizer, word)).slice(0, length - 2);
  return [start, ...ids, ...Array(length - 1 - ids.length).fill(end)];
}

// The words of a text that no caption had.
function unknown_words(tokenizer, text) {
  const known = (word) => /^[^\p{L}\p{N}]+$/u.test(word) || tokenizer.words.includes(word);
  return [...new Set(split_words(text).filter((word) => !known(word)))];
}

// The words at the end of a text for which the text encoder has no room.
function unread_words(tokenizer, text) {
  let room = tokenizer.length - 2; // beside the tokens of start and end
  return split_words(text).filter((word) => (room -= tokens_of(tokenizer, word).length) < 0);
}

const MENUS = {
  Mouth: { closed: "quiet", open: "open-mouthed", roaring: "roaring" },
  Fur: { orange: "orange", white: "white", golden: "golden", black: "black" },
  Age: { adult: "adult {fur} tiger", cub: "{fur} tiger cub" },
  Place: { jungle: "in the jungle", snow: "in the snow", savanna: "on the savanna", water: "in the water", night: "at night" },
  Time: { morning: "in the morning", noon: "at noon", dusk: "at dusk" },
};

// The sentence of a choice from each menu; at night there is no other time of day.
function sentence_of({ Mouth, Fur, Age, Place, Time }) {
  const cat = MENUS.Age[Age].replace("{fur}", MENUS.Fur[Fur]);
  const scene = Place === "night" ? MENUS.Place.night : `${MENUS.Place[Place]} ${MENUS.Time[Time]}`;
  const mouth = MENUS.Mouth[Mouth];
  return `${/^[aeiou]/.test(mouth) ? "an" : "a"} ${mouth} ${cat} ${scene}`;
}

// A text field that says which words the network does not know, or does not read.
let textFields = 0;
function textField(label, value, model, placeholder) {
  const id = `live-unknown-${++textFields}`;
  const input = make("textarea", { rows: 2, placeholder, autocomplete: "off", spellcheck: "false", maxlength: 400, "aria-describedby": id });
  input.value = value;
  const hint = make("p", { id, class: "live-unknown" });
  const said = make("p", { role: "status", class: "live-said" }); // to a screen reader, when the typing rests
  let rest = 0;
  const check = () => {
    const [words, unread] = [unknown_words, unread_words].map((find) => (model ? find(model.tokenizer, input.value) : []));
    hint.replaceChildren(...words.flatMap((word, k) => [k ? ", " : "Not in the vocabulary: ", make("mark", {}, word)]));
    if (words.length) hint.append(`. The network never saw ${words.length > 1 ? "these words" : "this word"}, so it cannot draw what ${words.length > 1 ? "they mean" : "it means"}. `);
    if (unread.length) hint.append(`The text is too long: “${unread.join(" ")}” is not read.`);
    hint.hidden = !hint.hasChildNodes();
    clearTimeout(rest);
    rest = setTimeout(() => (said.textContent = hint.textContent), 700);
  };
  input.addEventListener("input", check);
  check();
  const made = field(label, input);
  made.element.classList.add("live-text");
  return { element: make("div", { class: "live-prompt" }, made.element, hint, said), value: () => input.value, set: (text) => ((input.value = text), check()) };
}

function mountWords(root) {
  const model = textModel();
  const menus = Object.entries(MENUS).map(([label, values]) => choice(label, Object.keys(values).map((name) => [name, name])));
  const chosen = () => Object.fromEntries(Object.keys(MENUS).map((label, k) => [label, menus[k].value()]));
  const prompt = textField("Prompt", sentence_of(chosen()), model, "without words: any tiger");
  const negative = textField("Negative prompt", "", model, "such as: a tiger in the water");
  for (const { control } of menus) {
    control.addEventListener("change", () => {
      prompt.set(sentence_of(chosen()));
      menus[4].show(chosen().Place !== "night");
    });
  }
  const scale = slider("Guidance scale", model?.guidance_scale ?? 1, 1, 8, 0.5, (x) => x.toFixed(1));
  const idle = make("p", {}, "At guidance scale 1 the negative prompt has no effect.");
  const weigh = () => (idle.hidden = scale.value() > 1 || !negative.value());
  for (const { element } of [negative, scale]) element.addEventListener("input", weigh);
  weigh();
  const fields = samplerFields(model);
  const view = trajectory(model?.size ?? 64, {
    noisy: "noisy latent xₜ, three of its channels as colours",
    finished: "finished latent x₀, three of its channels as colours",
    drawn: "the picture that was drawn: the finished latent, decoded",
  });
  const report = progress(() => model);
  let drawn = null;
  const save = downloads(view, () => `tiger-from-words-${fileWords(drawn)}`, report.tell);
  const draw = async () => {
    try {
      if (!model) throw new Failure(SENTENCES.missing);
      const [ids, without] = [prompt, negative].map((text) => tokenize(model.tokenizer, text.value()));
      const request = { model, ...fields.read(), ids, negative: without, guidance_scale: scale.value() };
      const what = `${prompt.value() || "no words"}${negative.value() && scale.value() > 1 ? `, negative prompt: ${negative.value()}` : ""}; ${fields.words(request)}, guidance ${scale.value()}`;
      save.show(false);
      const whole = await run({ request, view, what, report, start: [go], stop });
      if (whole) drawn = request;
      save.show(whole);
    } catch (error) {
      report.tell(sentence(error));
    }
  };
  const go = button("Draw what the words say", draw, { class: "live-main" });
  const stop = stopButton();
  for (const { element } of [prompt, negative]) {
    element.querySelector("textarea").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return; // 229: Safari, for what ends a composition
      event.preventDefault(); // no new line
      go.click();
    });
  }
  const known = (model?.tokenizer.words ?? []).filter((word) => /\p{L}/u.test(word)).sort();
  const vocabulary = make("details", {}, make("summary", {}, "All words of its captions"), make("p", {}, known.join(", ")));
  root.append(
    make("div", { class: "live-fields", role: "group", "aria-label": "Words for the prompt" }, ...menus.map(({ element }) => element)),
    prompt.element, vocabulary, negative.element,
    make("div", { class: "live-fields" }, scale.element, ...fields.elements), idle,
    make("div", { class: "live-buttons" }, go, stop), ...report.elements, view.element, save.element);
}
