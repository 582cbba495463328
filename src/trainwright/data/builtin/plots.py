# ruff: noqa: E501 - a template is a sentence or two, and reads best on one line
"""What happens in the builtin stories: each plot is a function that tells one story from its problem to its ending.

A plot begins where `begin` has ended: {hero}, {friend}, {grown} (a grown-up of the family) and {neighbor} are cast,
{place} ("the park") and {at_place} ("in the park") are set, and the hero has been introduced.
"""

from collections.abc import Callable

from trainwright.data.builtin import lexicon as words
from trainwright.data.builtin.storytelling import Character, Teller

Plot = Callable[[Teller], None]


def begin(t: Teller) -> None:
    """Choose who and where, and introduce the hero."""
    hero, friend = _cast_pair(t)
    t.cast("hero", hero)
    t.cast("friend", friend)
    t.let(hero_title=_title(hero), friend_title=_title(friend))
    t.let(he="{hero_he}", him="{hero_him}", his="{hero_his}", himself="{hero_himself}")
    grown_name, grown_he = t.pick(words.GROWN_UPS)
    t.cast("grown", Character(grown_name, "", "", grown_he))
    t.cast("neighbor", _make_neighbor(t))
    place, at_place = t.pick(words.PLACES)
    t.let(place=place, at_place=at_place, one_day=t.pick(words.WHEN), liking=t.pick(words.LIKINGS))
    t.let(home=t.pick(words.ANIMAL_HOMES if hero.is_animal else words.CHILD_HOMES))
    t.let(happy=t.pick(words.HAPPY), glad=t.pick(words.HAPPY), sad=t.pick(words.SAD), kindly=t.pick(words.KINDLY))
    _introduce(t)


def _cast_pair(t: Teller) -> tuple[Character, Character]:
    """Two children, or two animals of different kinds, whose names differ."""
    hero, friend = _make_character(t, is_animal := t.chance(0.45)), _make_character(t, is_animal)
    while friend.name == hero.name or (is_animal and friend.kind == hero.kind):
        friend = _make_character(t, is_animal)
    return hero, friend


def _make_character(t: Teller, is_animal: bool) -> Character:
    he = t.pick(("he", "she"))
    if is_animal:
        name = t.pick(words.SHE_ANIMALS if he == "she" else words.HE_ANIMALS)
        return Character(name, t.pick(words.ANIMALS), t.pick(words.ANIMAL_ADJECTIVES), he, is_animal=True)
    name = t.pick(words.GIRLS if he == "she" else words.BOYS)
    return Character(name, "girl" if he == "she" else "boy", t.pick(words.CHILD_ADJECTIVES), he)


def _make_neighbor(t: Teller) -> Character:
    """A grown-up with a trade, who is spoken of as "Mrs. Bell the baker"."""
    he, title = t.pick((("he", "Mr."), ("she", "Mrs."), ("she", "Miss")))
    return Character(f"{title} {t.pick(words.SURNAMES)}", f"the {t.pick(words.JOBS)}", "", he)


def _title(character: Character) -> str:
    """ "Rusty the fox", but only "Noah": nobody calls a boy Noah the boy."""
    return f"{character.name} the {character.kind}" if character.is_animal else character.name


def _introduce(t: Teller) -> None:
    t.tell(
        "Once upon a time, there was a(n) {hero_adjective} {hero_kind} named {hero}. {He} lived {home}.",
        "Once upon a time, a(n) {hero_adjective} {hero_kind} named {hero} lived {home}.",
        "Once upon a time, {home}, there lived a(n) {hero_adjective} {hero_kind} called {hero}.",
        "Once there was a(n) {hero_kind} named {hero}. {He} was [very|quite|so] {hero_adjective}.",
        "There once was a(n) {hero_adjective} {hero_kind} who lived {home}. {His} name was {hero}.",
        "{hero} was a(n) {hero_adjective} {hero_kind} who lived {home}.",
        "{hero_title} lived {home}.",
        "Long ago, {home}, lived a(n) {hero_adjective} {hero_kind} named {hero}.",
        "This is the story of {hero}, a(n) {hero_adjective} {hero_kind} who lived {home}.",
        "A(n) {hero_adjective} {hero_kind} named {hero} lived {home}.",
    )
    t.tell(
        "{He} loved {liking}.",
        "{He} liked {liking}.",
        "More than anything, {he} loved {liking}.",
        "[Every day|On most days], {he} liked {liking}.",
        "{He} always had a smile for everyone.",
        "",
    )
    _describe_hero(t)


def _two(t: Teller, choices: tuple[str, ...]) -> dict[str, str]:
    one, other = t.pick_two(choices)
    return {"one": one, "other": other}


def _describe_hero(t: Teller) -> None:
    """Mostly one or two things that only this hero has, likes or wants; they play no part later."""
    if t.chance(0.8):
        _describe_family(t)
    if t.chance(0.85):
        _describe_likes(t)


def _describe_family(t: Teller) -> None:
    jobs, birds, buildings = _two(t, words.JOBS), _two(t, words.BIRDS), _two(t, words.BUILDINGS)
    t.let(village=t.pick(words.VILLAGE_STARTS) + t.pick(words.VILLAGE_ENDS), instrument=t.pick(words.INSTRUMENTS))
    t.let(country=t.pick(words.COUNTRIES), sea_animals=t.pick(words.SEA_ANIMALS), tree=t.pick(words.TREES))
    t.let(job=jobs["one"], other_job=jobs["other"], bird=birds["one"], relative=t.pick(words.RELATIVES))
    t.let(building=buildings["one"], other_building=buildings["other"], month=t.pick(words.MONTHS))
    t.let(surname=t.pick(words.SURNAMES), village_adjective=t.pick(words.VILLAGE_ADJECTIVES), dog=t.pick(words.DOGS))
    landforms = _two(t, words.LANDFORMS)
    t.let(landform=landforms["one"], other_landform=landforms["other"], ordinal=t.pick(words.ORDINALS))
    t.tell(
        "The place was called {village}.",
        "The [nearest town|next village] was called {village}. It had a(n) {building} and a(n) {other_building}.",
        "Not far away stood a(n) {building} and a(n) {other_building}.",
        "{His} full name was {hero} {surname}.",
        "{His} birthday was on the {ordinal} of {month}.",
        "It was a(n) {village_adjective} place near a(n) {landform}.",
        "Behind the house began a(n) {landform}, and behind that came a(n) {other_landform}.",
        "It was a(n) {village_adjective} little place called {village}.",
        "{Grown} had a(n) {dog} that [slept all day|followed {him} everywhere|was older than {hero}].",
        "The {relative} of {neighbor} had a(n) {dog} that {hero} was allowed to feed.",
        "{Grown} worked at the {building}, next to the {other_building}.",
        "{Grown} came from {village} and told {him} [many stories|a story every night].",
        "{Grown} had once [traveled to|lived in|sailed to] {country}.",
        "{His} {relative} lived in {country} and sent a postcard every {month}.",
        "{He} dreamed of going to {country} to see the {sea_animals}.",
        "{Grown} was a(n) {job}, and {hero} wanted to be a(n) {other_job} one day.",
        '"When I am big, I will be a(n) {job}," {he} often said.',
        "[Every morning|Each spring], a(n) {bird} sang in the {tree} [by the door|outside the window|near by].",
        "{Grown} played the {instrument} in the evening.",
    )


def _describe_likes(t: Teller) -> None:
    foods, things, topics = _two(t, words.FOODS), _two(t, words.THINGS), _two(t, words.TOPICS)
    hobbies, admired = _two(t, words.HOBBIES), _two(t, words.ADMIRED)
    t.let(food=foods["one"], other_food=foods["other"], thing=things["one"], other_thing=things["other"])
    t.let(topic=topics["one"], other_topic=topics["other"], hobby=hobbies["one"], other_hobby=hobbies["other"])
    t.let(admired=admired["one"], also_admired=admired["other"], sport=t.pick(words.SPORTS))
    t.let(color=t.pick(words.COLORS), clothing=t.pick(words.CLOTHES), fabric=t.pick(words.FABRICS))
    t.let(dance=t.pick(words.DANCES), drink=t.pick(words.DRINKS), metal=t.pick(words.METALS))
    creatures, sweets, subjects = _two(t, words.CREATURES), _two(t, words.SWEETS), _two(t, words.SCHOOL_SUBJECTS)
    t.let(creatures=creatures["one"], other_creatures=creatures["other"], subject=subjects["one"])
    t.let(sweets=sweets["one"], other_sweets=sweets["other"], other_subject=subjects["other"])
    herbs = _two(t, words.HERBS)
    t.let(herb=herbs["one"], other_herb=herbs["other"], weekdays=t.pick(words.WEEKDAYS))
    t.let(stone=t.pick(words.STONES), number=t.pick(words.NUMBERS), treasures=t.pick(words.TREASURE_PLURALS))
    t.tell(
        "{His} favorite food was {food} with {other_food}.",
        "For breakfast, {he} liked {food}, but {he} did not like {other_food}.",
        "{He} had {number} {treasures} in [a tin box|a jar|a drawer], and {he} knew every one of them.",
        "In {his} room stood a(n) {color} {thing} and a(n) {other_thing}.",
        "By {his} bed, there was a(n) {thing} and a(n) {other_thing}.",
        "{He} wore a(n) {color} {clothing} made of {fabric}.",
        "In {his} pocket, {he} kept a piece of {stone} [for luck|from the river|that shone in the light].",
        "{He} wanted to know everything about {topic} and {other_topic}.",
        "{He} had a big book about {topic} and a small one about {other_topic}.",
        "At night, {he} dreamed of {creatures} and {other_creatures}.",
        "{He} knew a hundred stories about {creatures} and {other_creatures}.",
        "{His} favorite sweets were {sweets} and {other_sweets}.",
        "On {weekdays}, there was {drink} with {sweets}.",
        "{He} was learning to dance the {dance}.",
        "{Grown} could dance the {dance}.",
        "The kitchen always smelled of {herb} and {other_herb}.",
        "{He} had a small box made of {metal} that smelled of {herb}.",
        "At school, {he} liked {subject} better than {other_subject}.",
        "{He} was good at {hobby} and {other_hobby}.",
        "{He} was better at {hobby} than at {other_hobby}.",
        "Everyone said that {he} was {admired} and {also_admired}.",
        "[On {weekdays}|After school|In the evening], {he} played {sport} with {grown}.",
    )


def _describe_way(t: Teller) -> None:
    """Sometimes, what there was to see and hear before it began to matter."""
    flowers, insects = _two(t, words.FLOWERS_ONE), _two(t, words.INSECTS)
    shapes, doings = _two(t, words.SHAPES), _two(t, words.DOINGS)
    t.let(flower=flowers["one"], other_flower=flowers["other"], insect=insects["one"], other_insect=insects["other"])
    t.let(shape=shapes["one"], other_shape=shapes["other"], doing=doings["one"], other_doing=doings["other"])
    t.let(moved=t.pick(words.MOVES), adverb=t.pick(words.MOVE_ADVERBS), vehicle=t.pick(words.VEHICLES))
    t.let(weather=t.pick(words.WEATHER_WORDS), heard=t.pick(words.HEARD))
    t.let(
        bird=t.pick(words.BIRDS),
        tree=t.pick(words.TREES),
        instrument=t.pick(words.INSTRUMENTS),
        color=t.pick(words.COLORS),
    )
    t.tell(
        "{He} {moved} {adverb} along, {doing}.",
        "{He} {moved} along, {doing} and {other_doing}.",
        "{He} {moved} {adverb} past the {tree}.",
        "A(n) {insect} sat on a(n) {flower}.",
        "A(n) {insect} and a(n) {other_insect} [crossed the path|rested in the shade].",
        "The first {flower} was in bloom, and so was the {other_flower}.",
        "A(n) {bird} [called|sang|sat very still] in the {tree}.",
        "One cloud looked like a(n) {shape}, and another one like a(n) {other_shape}.",
        "It was the day after the {weather}, and [the road was empty|everything was quiet|the air was clear].",
        "A(n) {color} {vehicle} [passed|went by|stood not far away].",
        "Somewhere, something {heard}.",
        "Something {heard} behind {him}, but it was only the wind.",
        "Somewhere, someone was playing the {instrument}.",
    )


def _mention_friend(t: Teller) -> None:
    """For plots in which the two have known each other from the start."""
    t.tell(
        "{His} best friend was {friend_title}.",
        "{friend_title} was {his} best friend.",
        "{He} was often with {his} friend {friend}.",
        "",
        "",
        "",
    )


def _one_day(t: Teller, *templates: str) -> None:
    """The line that starts the plot, with weather before or after it."""
    t.tell(*templates)
    if t.chance(0.15):
        t.tell(*words.FAIR_WEATHER)
    else:
        _describe_way(t)


def _end(t: Teller, *morals: str, together: bool = False) -> None:
    """The last line: the plot's own, or one that fits any happy ending. `together`: the friend was part of it."""
    t.tell(
        *morals,
        *morals,
        "{hero} [went home with a smile|smiled all the way home|smiled and smiled|sang all the way home].",
        "It was [the best day of all|a very good day|a wonderful day|a day to remember].",
        "And from that day on, {hero} and {friend} were [the best of friends|always together|even better friends]."
        if together
        else "[And they all lived happily ever after.|And so everything was good again.|The end.]",
        "That night, {hero} [fell asleep with a smile|slept very well|had sweet dreams|thought about it all once more].",
    )


def lost_thing(t: Teller) -> None:
    """A toy is lost; two places are searched in vain; it is found where it had been all the time."""
    wrong, spot = t.pick_two(words.OUTDOOR_SPOTS)
    t.let(toy=f"{t.pick((*words.COLORS, *words.QUALITIES))} {t.pick(words.TOYS)}", wrong=wrong, spot=spot)
    _one_day(
        t,
        "{one_day}, {hero} took {his} {toy} to {place}.",
        "{He} had a(n) {toy}, and {he} took it everywhere. {one_day}, {he} carried it to {place}.",
        "{one_day}, {hero} was playing {at_place} with {his} {toy}.",
    )
    t.part()
    t.tell(
        "But when it was time to go home, the {toy} was gone.",
        "{He} [played and played|ran and jumped|laughed and played]. Then {he} looked around, and the {toy} was not there.",
        "After a while, {he} [stopped to rest|wanted a drink of water]. When {he} came back, the {toy} was gone!",
    )
    t.tell(
        '"Oh no! Where is my {toy}?" [cried|said|asked] {hero}.',
        '"I have lost my {toy}!" {he} cried.',
        "{hero} felt {sad}. {He} [wanted|needed] {his} {toy} back.",
    )
    t.tell(
        "{He} looked {wrong}, but it was not there.",
        "First {he} looked {wrong}. There was nothing but [a beetle|a dry leaf|a snail|an old nut|a feather].",
        "{He} searched {wrong}. [No luck.|It was not there.|Nothing!]",
    )
    t.part()
    t.tell(
        '{friend_title} came by. "[Why are you so sad|What is wrong|What are you looking for]?" {friend_he} asked.',
        'Then {friend} came along. "I will help you [look|find it|search]," said {friend} {kindly}.',
        '{friend} saw that {hero} was {sad}. "[Let us look together|Two can search better than one|Do not worry, we will find it]," {friend_he} said.',
    )
    t.tell(
        "They looked [high and low|everywhere|here and there] {at_place}. At last, {friend} [looked|peeked] {spot}. There was the {toy}!",
        "Together they [walked|went] slowly around. Then {hero} saw something {spot}. It was the {toy}!",
        '"[Look|Come here|I see it]!" called {friend}. The {toy} was {spot}.',
    )
    t.tell(
        "{hero} hugged the {toy} [tightly|and laughed|and jumped for joy].",
        '"Thank you, {friend}!" said {hero}. [Then they played together until the sun went down.|"You are a true friend."|They shared the {toy} all afternoon.]',
        "{hero} was so {happy} that {he} [danced in a circle|gave {friend} a big hug|sang a little song].",
    )
    _end(
        t,
        "After that, {hero} always [kept {his} {toy} close|looked after {his} things|put {his} {toy} away in a safe place].",
        "{hero} learned that it is good to have a friend who helps.",
        together=True,
    )


def sharing(t: Teller) -> None:
    """One has something good to eat, the other has nothing."""
    t.let(snack=t.pick(words.SNACKS), game=t.pick(words.GAMES))
    _one_day(
        t,
        "{one_day}, {grown} gave {hero} a(n) {snack} to take along to {place}.",
        "{one_day}, {hero} sat down {at_place} to eat {his} {snack}.",
        "{one_day}, {hero} went to {place} with a(n) {snack} in {his} bag.",
    )
    t.tell(
        "It looked [so good|delicious|tasty and fresh].",
        "{He} was [very|so] hungry.",
        "It smelled [sweet|wonderful|very good].",
        "",
    )
    t.part()
    t.tell(
        "Then {he} saw {friend}. {friend} was sitting all alone and looked {sad}.",
        "Nearby sat a(n) {friend_kind} named {friend}, who had nothing to eat.",
        "{friend} came by and looked at the {snack}. {friend_his} tummy [growled|made a funny sound|rumbled].",
    )
    t.tell(
        '"What is the matter?" asked {hero}. "I [forgot|lost|dropped] my lunch," said {friend}.',
        '"Are you hungry?" asked {hero}. {friend} nodded [slowly|shyly|and looked at the ground].',
        '"I have not eaten since [breakfast|this morning|last night]," said {friend} in a [small|quiet|sad] voice.',
    )
    t.part()
    t.tell(
        "{hero} thought for a moment. {He} wanted to eat the whole {snack}. But {he} did not want {friend} to be hungry.",
        "{hero} looked at {his} {snack}. It was not very big. [But|Still,] {he} knew what to do.",
        "At first, {hero} did not want to share. Then {he} remembered how it feels to be hungry.",
    )
    t.tell(
        'So {he} broke the {snack} in two. "Here, [half is for you|this is yours|take this]," {he} said.',
        '"Let us share," said {hero}, and {he} gave {friend} the bigger half.',
        '"You can have [half of mine|some of mine]," {he} said {kindly}.',
    )
    t.tell(
        "They ate together and {friend} smiled [again|at last]. Then they played {game}.",
        '"Thank you! It tastes even better [with a friend|when we share]," said {friend}. After that, they played {game} {at_place}.',
        "{friend} was {happy}. [The next day|The day after], {friend_he} brought [two plums|a bag of nuts|a big red apple|warm rolls] and shared with {hero}.",
    )
    _end(
        t,
        "{hero} learned that sharing makes food taste better.",
        "A small thing is big when it is shared.",
        "Sharing made them both {happy}.",
        together=True,
    )


def rainy_day(t: Teller) -> None:
    """An outing is spoiled by the weather, and something better comes of it."""
    plan, result = t.pick(words.INDOOR_PLANS)
    t.let(outing=t.pick(words.OUTINGS), plan=plan, result=result)
    _mention_friend(t)
    t.tell(
        "{one_day}, {hero} and {friend} wanted to {outing}.",
        "For [a whole week|many days], {hero} had been looking forward to going out with {friend}. They were going to {outing}.",
        "{hero} woke up early. Today {he} and {friend} were going to {outing}!",
    )
    t.part()
    t.tell(
        "But then dark clouds came, and it began to rain. [Big drops hit the window.|It rained and rained.|Soon there were puddles everywhere.]",
        "But outside, the rain was [pouring down|falling hard|drumming on the roof].",
        "Just as they opened the door, there was a loud clap of thunder, and it started to rain.",
    )
    t.tell(
        '"Now we cannot go," said {hero}. {He} was {sad}.',
        '"It is not fair!" said {hero}, and {he} [stamped {his} foot|looked at the gray sky|sat down on the floor].',
        "{hero} pressed {his} nose against the window and sighed.",
    )
    t.part()
    t.tell(
        '{grown} smiled. "Rain is only water," {grown_he} said. "Why don\'t you {plan}?"',
        'Then {friend} had an idea. "We can stay here and {plan}!" {friend_he} said.',
        '"I know what we can do," said {friend}. "Let us {plan}."',
    )
    t.tell(
        "So they did. They worked [hard|together|all morning], and they laughed [a lot|and laughed|the whole time].",
        "They [looked for everything they needed|found all they needed in the closet|got to work at once]. Soon the room was full of [noise and laughter|color and fun].",
        '"What a good idea!" cried {hero}, and they [started at once|began right away].',
    )
    t.tell(
        "{Result} turned out [better than anyone had hoped|just right|wonderfully]. {grown} [clapped|came to see and clapped {grown_his} hands].",
        'When everything was done, {hero} looked around. "[This is more fun than going out|I almost forgot the rain|I am glad that it rained]," {he} said.',
        "They were so busy with {result} that they did not notice when the rain stopped.",
    )
    t.tell(
        "Outside, a rainbow [stood over the hill|shone in the sky|stretched over the houses].",
        "In the evening, the sun came out [at last|after all].",
        "",
    )
    _end(
        t,
        "{hero} learned that a rainy day can be a good day too.",
        "Sometimes the best days are the ones that nobody planned.",
        together=True,
    )


def baking(t: Teller) -> None:
    """Something is made in the kitchen; a mistake is made; it is put right."""
    t.let(dish=t.pick(words.DISHES), fruit=t.pick(words.FRUIT))
    _mention_friend(t)
    t.tell(
        "{one_day}, {hero} wanted to [make|cook|prepare] a(n) {dish} for {friend}.",
        '{one_day}, {grown} said, "Let us make a(n) {dish} today." {hero} [clapped {his} hands|ran to the kitchen|put on an apron].',
        "It was {friend}'s birthday, and {hero} wanted to make a(n) {dish} as a surprise.",
    )
    t.tell(
        "They took out [a big bowl|the blue bowl|the old pot] and a [wooden|long|silver] spoon.",
        "They put everything on the table: [flour, eggs and milk|butter, milk and salt|flour, oil and water].",
        "{grown} read the recipe [out loud|slowly], and {hero} did the stirring.",
    )
    t.part()
    t.tell(
        "But {hero} [was in a hurry|did not look closely|was thinking of something else] and took the salt instead of the sugar.",
        "But {hero} tripped, and half of the flour [landed on the floor|flew into the air like snow|fell on the cat].",
        "But {hero} forgot to watch the oven, and the first {dish} was [burned|as black as coal].",
        "But when {hero} cracked an egg, it [slipped|rolled off the table] and fell on the floor with a splash.",
    )
    t.tell(
        '"Oh no, I have spoiled it!" said {hero}. {He} felt {sad}.',
        '"Now it is ruined," said {hero}, and {his} eyes filled with tears.',
        "{hero} [looked at the mess|stood very still] and did not know what to say.",
    )
    t.tell(
        '"Do not worry," said {grown} {kindly}. "[Every cook makes mistakes|We can try again|We will clean up and start over]."',
        '{grown} laughed. "The same thing happened to me when I was little," {grown_he} said. "Let us try again."',
        '"A mistake is how we learn," said {grown}, and {grown_he} gave {hero} a hug.',
    )
    t.part()
    t.tell(
        "So they began again. This time, {hero} [read every word|measured everything twice|was very careful].",
        "They cleaned the kitchen and tried once more. {hero} worked slowly and carefully.",
    )
    t.tell(
        "Soon the whole house smelled [sweet and warm|wonderful|of good things].",
        "When it was ready, they put a(n) {fruit} on top.",
        "The new {dish} looked [perfect|golden and lovely|just like the picture in the book].",
    )
    t.tell(
        'When {friend} came, {friend_he} took a bite and said, "[This is the best thing I have ever eaten!|Yum! May I have more?|It is delicious!]"',
        "{friend} came to the door, and they all [ate together|sat down at the table]. Not one bite was left over.",
        "They shared it with {friend} and with {neighbor} {neighbor_kind}. Everyone [asked for more|had two helpings].",
    )
    _end(
        t,
        "{hero} learned that it is fine to make a mistake and try again.",
        "{hero} was {happy}, because the second try is often the best.",
        together=True,
    )


def new_friend(t: Teller) -> None:
    """Someone new is shy, and someone is kind."""
    t.let(game=t.pick(words.GAMES), toy=f"{t.pick(words.COLORS)} {t.pick(words.TOYS)}")
    _one_day(
        t,
        "{one_day}, {hero} saw someone new {at_place}. It was a(n) {friend_kind} named {friend}.",
        "{one_day}, a new family moved in next door. They had a(n) {friend_adjective} {friend_kind} named {friend}.",
        "{one_day}, a(n) {friend_kind} whom nobody knew stood {at_place}. {friend_his} name was {friend}.",
    )
    t.part()
    t.tell(
        "{friend} stood [behind a tree|by the wall|at the side] and looked at [the ground|{friend_his} feet]. {friend_he} did not say a word.",
        "All the others were playing {game}, but {friend} only watched.",
        "{friend} was shy and did not know anyone.",
    )
    t.tell(
        '"Why does nobody play with {friend}?" {hero} [wondered|thought].',
        "{hero} remembered how it felt to be alone.",
        '"{friend} looks lonely," {hero} said to {grown}. "Then you know what to do," said {grown}.',
    )
    t.part()
    t.tell(
        'So {hero} walked over and said, "Hello! My name is {hero}. Do you want to play {game}?"',
        '{hero} took {his} {toy} and went up to {friend}. "Hi! Would you like to [try it|play with me|have a turn]?" {he} asked.',
        '{hero} smiled and waved. "Come and play {game} with us!" {he} called.',
    )
    t.tell(
        '"I do not know how," said {friend} [softly|in a tiny voice]. "[It is easy|That is all right], I will show you," said {hero}.',
        '{friend} looked up. Slowly, {friend_he} began to smile. "[Yes, please|I would like that]," {friend_he} said.',
        '"Really? Me?" asked {friend}. "Yes, you!" said {hero}, and they both laughed.',
    )
    t.tell(
        "They played [until dinner|all afternoon|until the stars came out]. {friend} was [very good at it|so funny|the fastest of all].",
        "It turned out that {friend} also liked {liking}. They had so much to talk about!",
        "{friend} showed {hero} [a secret path|a new trick|how to make a crown of flowers|a funny dance], and {hero} showed {friend} {his} favorite place.",
    )
    _end(
        t,
        "A kind word can open every door.",
        "{hero} was {happy} to have a new friend.",
        "Now there was no one left standing alone.",
        together=True,
    )


def facing_fear(t: Teller) -> None:
    """Something is frightening until it is looked at closely."""
    fear, why, help_thing, truth = t.pick(words.FEARS)
    t.let(fear=fear, why=why, help=help_thing, truth=truth.replace("carried them", "carried {him}"))
    t.tell(
        "But {hero} had one secret: {he} was afraid of {fear}.",
        "{hero} was not afraid of [spiders|mice|loud noises]. But {he} was very much afraid of {fear}.",
        "There was only one thing that {hero} did not like at all, and that was {fear}.",
    )
    t.part()
    t.tell(
        "{one_day}, {hero} had to be brave. {why}. {His} knees [shook|felt weak|were like jelly].",
        "{why}. {hero} [wanted to run away|held {his} breath|hid {his} face in {his} hands].",
    )
    t.tell(
        '"I cannot do it," {he} [said|whispered|cried].',
        '"I am too [small|scared|little]," said {hero}.',
        '"What if something bad happens?" {he} asked.',
    )
    t.part()
    t.tell(
        '{friend} came and stood beside {him}. "I was scared the first time too," said {friend}. "I will stay with you."',
        '{grown} sat down next to {him}. "Being brave does not mean that you are not afraid," said {grown}. "It means that you try anyway."',
        '"Take a deep breath and count to [three|five|ten]," said {grown} {kindly}. "I am right here."',
    )
    t.tell(
        "Then {hero} got {help}.",
        "It helped to have {help}.",
        "{friend} gave {him} {help}, and that made it a little easier.",
    )
    t.tell(
        "{hero} [took one small step|closed {his} eyes|took a deep breath]. Then {he} took another. {truth}!",
        "Slowly, very slowly, {he} went [closer|on]. And what did {he} find? {truth}.",
        "{He} counted out loud: one, two, three. Then {he} did it! {truth}.",
    )
    t.tell(
        '"I did it!" {hero} [shouted|cried|laughed].',
        '"It was not so bad," said {hero}. "[Can we do it again|Next time I will help you|I am not afraid any more]."',
        "{hero} was so {happy} that {he} [told everyone|laughed out loud|did a little dance].",
    )
    _end(
        t,
        "{hero} learned that things are often less scary when you look at them closely.",
        "From then on, {hero} was not afraid of {fear} any more.",
        "Being brave felt good.",
        together=True,
    )


def learning_skill(t: Teller) -> None:
    """A wish to be able to do something; three tries."""
    skill, success = t.pick(words.SKILLS)
    t.let(skill=skill, success=success)
    t.tell(
        "More than anything, {hero} wished to {skill}.",
        '{one_day}, {hero} saw {friend} {skill}. "I want to do that too," {he} said.',
        "All of {his} friends could {skill}, but {hero} could not.",
    )
    t.part()
    t.tell(
        "{He} tried once, and it [did not work|went all wrong|ended with a bump]. {He} tried again, and it was no better.",
        "On Monday {he} tried and failed. On Tuesday {he} tried and failed again.",
        "The first time was [terrible|hard|a mess]. The second time was [not much better|worse|just as bad].",
    )
    t.tell(
        '"I will never learn it," said {hero}. {He} was {sad}.',
        '"It is too hard!" {he} cried, and {he} wanted to give up.',
        "Some of the others laughed, and {hero} [ran home|went away|felt {sad}].",
    )
    t.part()
    t.tell(
        '"Do you know how many times I fell?" asked {friend}. "[A hundred|More than I can count|At least fifty] times! Come, we will practice together."',
        '{grown} said, "Nobody can do it on the first day. [Little by little|Step by step|A little every day], you will learn."',
        '"Try it a little slower," said {neighbor} {neighbor_kind}, who had been watching. "And do not look [down|at the others]."',
    )
    t.tell(
        "So {hero} practiced every [day|morning|evening]. {He} practiced [in the sun and in the rain|before breakfast and after dinner|even when {he} was tired].",
        "They practiced {at_place} for a whole [week|month]. Each day it went a little better.",
    )
    t.tell(
        "And then it happened: {hero} {success}!",
        "Later that [month|summer|year], {hero} {success}. {He} could hardly believe it!",
        "At last, {hero} took a deep breath and {success}.",
    )
    t.tell(
        '"[You did it|I knew it|Hooray]!" shouted {friend}.',
        "Everyone clapped, and {friend} clapped the loudest.",
        '"Look at me!" {he} called. {grown} was very proud.',
    )
    _end(
        t,
        "{hero} had learned that practice makes a hard thing easy.",
        "If you do not give up, you can learn almost anything.",
        "{hero} was [glad|proud|happy] that {he} had not given up.",
        together=True,
    )


def rescue(t: Teller) -> None:
    """A lost or hurt baby animal is cared for and brought home."""
    t.let(baby=t.pick(words.BABY_ANIMALS), sound=t.pick(words.SOUNDS), spot=t.pick(words.OUTDOOR_SPOTS))
    _one_day(
        t,
        "{one_day}, {hero} was walking {at_place} when {he} heard {sound}.",
        "{one_day}, on the way to {place}, {hero} heard {sound}.",
        "{one_day}, {hero} was playing {at_place}. Suddenly {he} stopped. There was {sound}.",
    )
    t.tell(
        "It came from somewhere near. Then {he} saw it. There sat a tiny {baby}, [cold and wet|all alone|trembling].",
        "{He} looked {spot} and found a little {baby}. It had [hurt its leg|lost its mother|lost its way].",
        "{He} followed the sound. {Spot}, {he} found a very small {baby}.",
    )
    t.part()
    t.tell(
        '"Do not be afraid," {hero} [whispered|said {kindly}]. "I will help you."',
        '"You poor little thing," said {hero}. "[Where is your mother|Are you hurt|How did you get here]?"',
    )
    t.tell(
        "{He} wrapped the {baby} in {his} [scarf|coat|sweater|blanket] and carried it home.",
        "Very gently, {he} picked up the {baby} and took it to {grown}.",
        "{He} called {friend}, and together they made a soft bed of [grass|leaves|wool|straw].",
    )
    t.tell(
        "They gave it [fresh water|some seeds|soft bread], and it [slept all night|fell asleep at once].",
        '{grown} looked at it and said, "[It only needs rest and a warm place|It will be well in a few days|Good food and sleep will help]."',
        "For three days, {hero} [fed it and kept it warm|sat beside it and sang to it|looked after it with care].",
    )
    t.part()
    t.tell(
        "Soon the {baby} was strong again. It was time to bring it back.",
        "When the {baby} was well, {hero} [knew what {he} had to do|took it back to {place}]. [It was hard to say goodbye.|{He} felt a little {sad}, but it was right.]",
        "Then one morning, the {baby} [stood up|jumped up] and looked out of the window. It wanted to go home.",
    )
    t.tell(
        "{At_place}, its mother was waiting. She was so {happy} to see her little one!",
        "At the edge of [the trees|the field|the water], its mother came running. The {baby} [jumped for joy|ran to her at once].",
    )
    t.tell(
        "Before it went, the {baby} [looked back once|touched {his} hand], as if to say thank you.",
        '"Goodbye, little friend," said {hero}, and {he} waved.',
        "",
    )
    _end(
        t,
        "Whenever {hero} went to {place} after that, the {baby} came to say hello.",
        "{hero} learned that even a small one can be a big help.",
        "Taking care of others made {hero} feel {happy}.",
    )


def garden(t: Teller) -> None:
    """A seed, patience, a harvest."""
    t.let(plant=t.pick(words.PLANTS))
    t.tell(
        '{one_day}, {neighbor} {neighbor_kind} gave {hero} a tiny seed. "[Plant it and be patient|Take good care of it|It will surprise you]," {neighbor_he} said.',
        '{one_day}, {hero} found a seed in {his} pocket. "I wonder what it will become," {he} said.',
        "{one_day}, {hero} and {grown} wanted to grow a(n) {plant} in the garden.",
    )
    t.tell(
        "{He} dug a small hole, put the seed in, and covered it with [soft earth|dark soil].",
        "{He} planted it in [a sunny corner|a blue pot|the best spot in the garden] and gave it water.",
    )
    t.part()
    t.tell(
        "Every [day|morning], {he} went to look. [But there was nothing to see.|Nothing happened.|There was only earth.]",
        "One day passed, then two, then [a whole week|ten]. The ground stayed bare.",
    )
    t.tell(
        '"Why does it not grow?" asked {hero}. {He} was {sad}.',
        '"It is not doing anything!" said {hero}.',
        '"Maybe my seed is [broken|asleep|too small]," said {hero}.',
    )
    t.tell(
        '"Things that grow need time," said {grown} {kindly}. "[Give it water and wait|Under the ground, it is busy|Be patient]."',
        '{friend} said, "Let us sing to it." So they [sat down and sang|sang to it every day|sang three songs].',
        '{grown} smiled. "It is working where you cannot see it," {grown_he} said.',
    )
    t.part()
    t.tell(
        "Then, after a night of rain, a small green [leaf|shoot|tip] came out of the ground!",
        "And one morning, there was a tiny green leaf. {hero} [shouted for joy|ran to tell {friend}|could not stop smiling].",
    )
    t.tell(
        "It grew and grew. By the end of summer, it was a fine, big {plant}.",
        "The sun shone, the rain fell, and week by week it became a(n) {plant}, [taller than the fence|the finest in the village|big and strong].",
    )
    t.tell(
        '{hero} [invited everyone to see it|showed it to {friend}]. "[It was worth the wait|I only gave it water and time]," {he} said.',
        "{He} shared what it gave with {friend} and with {neighbor}, [and kept one seed for the next year|and everyone was {glad}].",
        "{hero} sat beside it with {friend}, and they looked at it [for a long time|until the sun went down].",
    )
    _end(t, "{hero} learned that good things take time.", "{hero} was [glad|proud|happy] that {he} had been patient.")


def stuck(t: Teller) -> None:
    """One is stuck; many hands help."""
    spot, tool = t.pick(words.STUCK_SPOTS)
    t.let(spot=spot, tool=tool)
    _one_day(
        t,
        "{one_day}, {hero} and {friend} were playing near {place}.",
        "{one_day}, {hero} went for a walk near {place}.",
    )
    t.tell(
        "Suddenly {he} heard a shout. It was {friend}! {friend} was stuck {spot}.",
        '"Help! Help!" cried a voice. It was {friend}, stuck {spot}.',
    )
    t.tell(
        '"I cannot get out," said {friend}. {Friend_he} was [shaking|crying|very frightened].',
        '"I wanted to have a look, and now I cannot move," said {friend}.',
        '"Please do something!" said {friend}.',
    )
    t.part()
    t.tell(
        "{hero} pulled with all {his} might, but {he} was not strong enough.",
        "{hero} tried to reach {friend}, but it was too far.",
        "{hero} thought hard. {He} could not do it alone.",
    )
    t.tell(
        '"Wait here, I will get help!" {he} called. {He} ran as fast as {he} could and found {neighbor} {neighbor_kind}.',
        "So {he} ran to [the village|the nearest house|the road] and called for {neighbor} {neighbor_kind}.",
        "Just then, {neighbor} {neighbor_kind} came along the path. {hero} told {neighbor_him} everything.",
    )
    t.part()
    t.tell(
        '"We can do it with {tool}," said {neighbor}.',
        '"I know what we need," said {hero}. "We need {tool}!"',
        "{neighbor} thought for a moment. Then {neighbor_he} came back with {tool}.",
    )
    t.tell(
        "They all worked together. One, two, three, and {friend} was free!",
        "[Slowly and carefully|Bit by bit|With a heave and a ho], they got {friend} out.",
        "It took a long time, but nobody gave up. At last, {friend} was safe.",
    )
    t.tell(
        '"Thank you! You saved me," said {friend}, and {friend_he} hugged {hero}.',
        "{friend} was [tired and dirty|cold and tired] but {happy}. {grown} gave everyone [hot soup|warm milk|tea and cake].",
        '"That is what friends are for," said {hero}.',
    )
    _end(
        t,
        "Together they could do what nobody could do alone.",
        "{friend} promised to be more careful next time.",
        "{hero} learned that it is smart to ask for help.",
        together=True,
    )


def honesty(t: Teller) -> None:
    """Something breaks; it is hidden; the truth is told."""
    t.let(
        thing=t.pick(words.BREAKABLES),
        spot=t.pick(words.INDOOR_SPOTS),
        toy=t.pick(words.TOYS),
        color=t.pick(words.COLORS),
    )
    _mention_friend(t)
    t.tell(
        "{one_day}, {hero} was playing with a(n) {toy} inside the house, although {grown} had said not to.",
        "{one_day}, {hero} was [running|jumping|dancing] through the living room.",
        "{one_day}, {hero} reached for the {toy} on the shelf.",
    )
    t.tell(
        "Crash! {Grown}'s {color} {thing} fell to the floor and broke.",
        "There was a loud crash. The {color} {thing} that {grown} loved was in pieces.",
        "{He} bumped into the table, and the {color} {thing} [fell down|tipped over] and broke.",
    )
    t.part()
    t.tell(
        "{hero} was scared. {He} quickly hid the pieces {spot}.",
        "Nobody had seen it. So {hero} swept up the pieces and hid them {spot}.",
        '"Oh no," {he} whispered. {He} looked around and put the pieces {spot}.',
    )
    t.tell(
        'When {grown} came home, {grown_he} asked, "Where is my {thing}?" "I do not know," said {hero}, and {his} face turned red.',
        '"Have you seen my {color} {thing}?" asked {grown}. {hero} shook {his} head. But {he} felt {sad} inside.',
        "At dinner, {grown} looked for the {thing}. {hero} said nothing, but {he} could not eat [a single bite|anything].",
    )
    t.tell(
        "All [evening|day], {his} tummy felt heavy, as if {he} had swallowed a stone.",
        '{friend} asked, "Why are you so quiet?" {hero} told {friend_him} the secret. "You should tell the truth," said {friend}.',
        "That night, {he} could not sleep.",
    )
    t.part()
    t.tell(
        'At last, {hero} went to {grown}. "I broke the {thing} and hid it {spot}," {he} said. "I am so sorry."',
        'Then {hero} took the pieces out from where they were and brought them to {grown}. "It was me," {he} said.',
    )
    t.tell(
        '{grown} was quiet for a moment. "I am sad about the {thing}," {grown_he} said, "but I am glad that you told me the truth."',
        '{grown} gave {him} a hug. "A(n) {thing} can be mended," {grown_he} said. "Thank you for being honest."',
    )
    t.tell(
        "Together they glued the pieces. The {thing} was not perfect, but it stood [on the table|on the shelf] again.",
        "{hero} saved {his} coins and helped to buy a new {thing}.",
        "{hero} felt as light as a feather.",
    )
    _end(
        t,
        "{hero} learned that the truth makes the heart light.",
        "From then on, {hero} always told the truth, even when it was hard.",
    )


def race(t: Teller) -> None:
    """A race in which stopping to help is worth more than winning."""
    mark, goal = t.pick_two(words.LANDMARKS)
    t.let(mark=mark, goal=goal, baby=t.pick(words.BABY_ANIMALS))
    _mention_friend(t)
    t.tell(
        '{one_day}, {hero} and {friend} wanted to know who was faster. "Let us race to {goal}!" said {friend}.',
        "{one_day}, there was a big race from {mark} to {goal}. {hero} and {friend} both wanted to win.",
        '"I am the fastest of all," said {friend} one day. "No, I am," said {hero}. So they agreed to race to {goal}.',
    )
    t.tell(
        "[The prize was a blue ribbon.|The winner would get a cake.|Everyone came to watch.|All their friends stood along the path.]",
        "",
    )
    t.part()
    t.tell(
        "Ready, set, go! They ran [like the wind|side by side|as fast as they could].",
        '"Ready, set, go!" called {neighbor} {neighbor_kind}, and off they went.',
    )
    t.tell(
        "At first, {friend} was in front. Then {hero} [caught up|took the lead].",
        "{hero} was fast, but {friend} was fast too.",
        "Soon {hero} was far ahead.",
    )
    t.tell(
        "Just [past|after|behind] {mark}, {hero} saw a little {baby} that had fallen and could not get up.",
        "But then {hero} heard {friend} cry out. {friend} had [tripped over a root|hurt {friend_his} foot|fallen into a puddle].",
    )
    t.part()
    t.tell(
        "{hero} could see {goal}. {He} could win! But {he} stopped and turned back.",
        "{hero} wanted to win very much. But helping was more important. {He} stopped.",
    )
    t.tell(
        '"Are you all right?" {he} asked. {He} [helped|lifted] the poor thing up and [dried the tears|brushed off the dust].',
        "{He} knelt down and helped as well as {he} could.",
    )
    t.tell(
        "Then {hero} and {friend} walked to {goal} together, side by side.",
        'When {friend} saw that, {friend_he} said, "You are the real winner." They crossed the line hand in hand.',
        "At {goal}, everyone clapped for {hero}, [even though {he} came in last|although nobody knew who had won].",
    )
    _end(
        t,
        "Being kind is better than being first.",
        "{hero} did not win the race, but {he} won everyone's heart.",
        together=True,
    )


def gift(t: Teller) -> None:
    """No money for a present, so it is made by hand."""
    one, other = t.pick_two(words.MATERIALS)
    t.let(craft=t.pick(words.CRAFTS), one=one, other=other, shop=f"{t.pick(words.COLORS)} {t.pick(words.TOYS)}")
    t.tell(
        "It was almost {friend}'s birthday, and {hero} did not have a present.",
        "{one_day}, {friend} invited {hero} to {friend_his} birthday party. {hero} wanted to bring something special.",
        "{grown}'s birthday was coming, and {hero} wanted to give {grown_him} a surprise at the party.",
    )
    t.tell(
        "{He} looked in the window of the shop. There was a(n) {shop}, but it cost too much.",
        "{He} counted {his} coins. There were only [two|three|four]. That was not enough to buy anything.",
        '"I have no money," {he} said to {himself}.',
    )
    t.part()
    t.tell(
        'Then {he} had an idea. "I will make {craft}!" {he} said.',
        '"You can make something," said {neighbor} {neighbor_kind}. "A gift from the hand is a gift from the heart." So {hero} decided to make {craft}.',
    )
    t.tell(
        "{He} found {one} and {other} [in a drawer|in the shed|in an old box] and sat down at the table.",
        "{He} looked around the house and found {one}. {neighbor} gave {him} {other}.",
    )
    t.tell(
        "{He} worked [all day|the whole evening|until bedtime]. It was not easy, and [twice|once] {he} had to start again.",
        "{His} fingers got [sticky|tired], but {he} did not stop.",
        "Bit by bit, it began to look like {craft}.",
    )
    t.part()
    t.tell(
        "On the day of the party, {hero} felt shy. The other presents were [big and shiny|wrapped in golden paper]. {hero}'s was small.",
        'At the party, {hero} held out {his} little present. "I made it [for you|myself]," {he} said softly.',
        "The day came, and all the guests put their presents on the table.",
    )
    t.tell(
        'When it was opened, everyone was quiet. Then came a big smile. "[It is beautiful|This is my favorite|Nobody has ever made something for me]!"',
        '"You made {craft}? For me?" It was the best present of all.',
    )
    _end(
        t,
        "The best gifts are made with love.",
        "{hero} was {happy}, and so was everyone else.",
        "A gift does not have to be big to be good.",
    )


def night(t: Teller) -> None:
    """Someone cannot sleep."""
    t.let(
        flowers=t.pick(words.FLOWERS),
        sight=t.pick(words.NIGHT_THINGS),
        count=t.pick(words.NIGHT_COUNTS),
        toy=f"{t.pick(words.QUALITIES)} {t.pick(words.TOYS)}",
    )
    t.tell(
        "One night, {hero} could not sleep.",
        "It was late, and the house was quiet. But {hero} lay awake.",
        "The stars were out, and everyone was asleep. Only {hero} was awake.",
    )
    t.tell(
        "{He} turned to the left, and {he} turned to the right. {He} [was not tired at all|pulled the blanket over {his} head|closed {his} eyes, but they opened again].",
        "The bed was too [warm|soft|big], and the clock was too loud.",
        "Too many thoughts were [dancing|running|spinning] in {his} head.",
    )
    t.part()
    t.tell(
        "So {he} got up and went to the window. Outside, {he} saw {sight}.",
        "{He} tiptoed to the window and looked at {sight}.",
    )
    t.tell(
        '"Are you awake too?" {he} [whispered|asked]. It was so [quiet|peaceful] outside.',
        '"Good night, world," {he} said softly.',
        "Everything was [blue and silver|still|calm and dark], and an owl called from far away.",
    )
    t.tell(
        'Then the door opened. It was {grown}. "[Can\'t you sleep|Still awake|Why are you up], my dear?" {grown_he} asked.',
        "{grown} heard {him} and came in with [a cup of warm milk|a little lamp|an extra blanket].",
    )
    t.part()
    t.tell(
        '"Try to count {count}," said {grown}. So {hero} began: one, two, three.',
        "{grown} sat on the edge of the bed and sang [an old song|a soft song about the sea|the song of the sleepy bear]. Then they counted {count}.",
        '"When I cannot sleep, I count {count}," said {grown}.',
    )
    t.tell(
        "{hero} took {his} {toy} in {his} arms and listened to {grown_his} voice.",
        "{hero} held {his} {toy} and felt [warm and safe|very safe|warm and sleepy].",
    )
    t.tell(
        "Before {he} came to [ten|twelve|twenty], {he} was asleep.",
        "Slowly {his} eyes closed. {He} began to dream of [a boat on a quiet lake|a field of {flowers}|a flying bed|a garden in the clouds].",
        "{His} breath became slow and soft, and soon {he} was fast asleep.",
    )
    t.tell(
        "[In the morning|When the sun came up], {hero} felt [fresh and {happy}|rested and ready to play].",
        '"Good night, {hero}," {grown} whispered, and {grown_he} [turned off the light|closed the door very softly].',
        "And outside, the night was quiet until the morning came.",
    )


def treasure(t: Teller) -> None:
    """A map, two landmarks and a box."""
    first, second = t.pick_two(words.LANDMARKS)
    t.let(first=first, second=second, treasure=t.pick(words.TREASURES), spot=t.pick(words.INDOOR_SPOTS))
    _mention_friend(t)
    t.tell(
        "{one_day}, {hero} found an old map {spot}.",
        "{one_day}, {hero} opened a dusty book, and a map fell out.",
        "{one_day}, the wind blew a piece of paper to {hero}'s feet. It was a map!",
    )
    t.tell(
        'There was a big red cross on it. "A treasure!" {he} [cried|whispered|said].',
        "It showed {place} and a path with little dots.",
        '{He} ran to {friend}. "Look what I have found!" {he} said.',
    )
    t.part()
    t.tell(
        "{hero} and {friend} packed [some bread and water|two apples and a rope|a small shovel and a lamp] and set off.",
        '"Let us follow it," said {friend}, and they started at once.',
    )
    t.tell(
        "First, the map led them to {first}. From there, they had to take [twenty|thirty|fifty] steps to {second}.",
        "They walked to {first}. Then they turned left and went on to {second}.",
        '"From {first}, go to {second}," {hero} read.',
    )
    t.tell(
        'It was [a long way|hot|hard to find], and {friend} was tired. "[Only a little more|We are almost there|Let us rest and then go on]," said {hero}.',
        "Once they lost the way, but {friend} saw a mark on a stone.",
        "They had to [crawl under a fence|cross a little stream|climb over a wall], and they laughed.",
    )
    t.part()
    t.tell(
        "Behind {second}, the ground was soft. They dug and dug. Then the shovel hit something hard. It was a box!",
        "At {second}, they [found a loose stone|looked closely]. Under a flat stone was an old wooden box.",
    )
    t.tell(
        "{hero} opened it slowly. Inside was {treasure}.",
        'The lid creaked. In the box lay {treasure} and a note. The note said, "[For those who do not give up|For good friends|Share it]."',
    )
    t.tell(
        '"It belongs to both of us," said {hero}. {friend} was {glad}.',
        "They took turns: one day it was at {hero}'s home, and the next day at {friend}'s.",
        "They [showed it to everyone|took it home and showed it to {grown}]. {grown} smiled as if {grown_he} knew a secret.",
    )
    _end(
        t,
        "But the best treasure was the day they had spent together.",
        "{hero} learned that looking together is half the fun.",
        together=True,
    )


def magic(t: Teller) -> None:
    """A magic thing grants a wish, and a wish for another is the best one."""
    t.let(
        thing=f"{t.pick(words.COLORS)} {t.pick(words.MAGIC_THINGS)}",
        spot=t.pick(words.OUTDOOR_SPOTS),
        wise=t.pick(words.WISE_ANIMALS),
        toy=t.pick(words.TOYS),
    )
    _one_day(
        t,
        "{one_day}, {hero} found a(n) {thing} {spot}.",
        "{one_day}, {hero} helped {wise} to cross the road. As a thank-you, {he} got a(n) {thing}.",
        "{one_day}, {at_place}, something shone {spot}. It was a(n) {thing}.",
    )
    t.tell(
        'When {he} picked it up, it [began to glow|hummed softly|felt warm]. "I can give you one wish," said a tiny voice.',
        '"I am a magic thing," it said. "You have one wish. Think well!"',
    )
    t.part()
    t.tell(
        "{hero} thought and thought. {He} could wish for [a mountain of candy|a big castle|a hundred toys|a pair of wings].",
        '"I could wish for a new {toy}," {he} said, "or for [a pony|a crown|a room full of sweets|a ship of my own]."',
    )
    t.tell(
        "On the way home, {he} met {friend}. {friend} was crying, because {friend_his} [grandmother was ill|house had a hole in the roof|little brother was lost|garden was dry].",
        'Then {he} saw {friend}, who looked {sad}. "What is wrong?" asked {hero}. "[My little sister is ill|Our well is empty|My dog ran away|The storm broke our roof]," said {friend}.',
    )
    t.part()
    t.tell(
        '{hero} looked at the {thing}. Then {he} knew what to wish for. "I wish that {friend} can be happy again," {he} said.',
        '"My wish is for {friend}," {he} said {kindly}. "Please make everything good again."',
    )
    t.tell(
        "There was a flash of [light|golden dust|blue light], and {friend} began to smile. Everything was good again!",
        "The {thing} glowed brightly. At that very moment, {friend}'s trouble was over.",
    )
    t.tell(
        "The magic was gone, and the {thing} was just a plain, pretty thing. But {hero} was {happy}.",
        '"You gave away your wish," said the tiny voice. "That was the wisest wish of all."',
        "{friend} never knew why it happened. But {hero} kept the {thing} and smiled whenever {he} saw it.",
    )
    _end(
        t,
        "{hero} learned that the best wish is one for somebody else.",
        "Kindness is a kind of magic too.",
        together=True,
    )


def errand(t: Teller) -> None:
    """Sent to buy something; someone on the way needs help."""
    first, second = t.pick_two(words.LANDMARKS)
    t.let(errand=t.pick(words.ERRANDS), first=first, second=second, wise=t.pick(words.WISE_ANIMALS))
    _one_day(
        t,
        '{one_day}, {grown} said, "Please go to the market and buy {errand}." {hero} took [the basket|a bag] and [three|four|five] coins.',
        "{one_day}, {grown} needed {errand}, so {hero} went to the market all alone for the first time.",
    )
    t.tell(
        "{He} felt very grown-up.",
        "{He} walked past {first} and {second}.",
        "{He} said the word again and again, so that {he} would not forget it.",
        "",
    )
    t.part()
    t.tell(
        'Near {first}, {he} met {wise} that was [hungry|thirsty|cold]. "Can you help me?" it asked.',
        "At {second}, {friend} was sitting on the ground. {Friend_he} had dropped a bag of [beans|nuts|apples|potatoes], and they were rolling everywhere.",
        "By {first}, an old [man|woman] could not carry a heavy [basket|sack|box].",
    )
    t.tell(
        "{hero} was in a hurry. But {he} put down the basket and helped.",
        '"Of course I will help," said {hero}, and {he} did what {he} could.',
        "{hero} did not think twice. {He} stopped and helped {kindly}.",
    )
    t.tell(
        'It took [a long time|a while|half an hour]. "Thank you," {he} heard. "A good deed comes back one day."',
        "When it was done, {he} ran on, because it was getting late.",
    )
    t.part()
    t.tell(
        "At the market, {he} reached into {his} pocket. One coin was missing! {He} could not pay for {errand}.",
        "When {he} came to the market, the shop was [closing|almost empty]. There was nothing left.",
    )
    t.tell(
        'But {neighbor} {neighbor_kind} had seen everything. "You helped someone today," {neighbor_he} said. "Now I will help you." And {neighbor_he} gave {him} {errand}.',
        '{hero} was {sad}. Then someone tapped {him} on the shoulder. It was {neighbor} {neighbor_kind}. "I saw how kind you were," {neighbor_he} said, and {neighbor_he} put {errand} into {his} basket.',
    )
    t.tell(
        "{hero} ran home, and {grown} [gave {him} a big hug|was very proud|listened to the whole story].",
        '"You are late," said {grown}. But when {grown_he} heard the story, {grown_he} smiled.',
    )
    _end(t, "One kindness brings another.", "{hero} learned that a good deed always comes back.")


def snow_day(t: Teller) -> None:
    """Something is built of snow, and it is given something."""
    build, detail = t.pick(words.SNOW_BUILDS)
    t.let(build=build, detail=detail, clothes=f"{t.pick(words.COLORS)} {t.pick(words.CLOTHES[:5])}")
    _mention_friend(t)
    t.tell(
        "One winter morning, {hero} looked out of the window. Everything was white!",
        "It had snowed all night. When {hero} woke up, the whole world was [white|covered with snow].",
        "It was the first snow of the year. {hero} could not wait to go out.",
    )
    t.tell(
        "{He} put on {his} {clothes} and ran outside.",
        "{He} put on [two pairs of socks|warm gloves|thick boots] and {his} {clothes} and called {friend}.",
    )
    t.part()
    t.tell(
        '"Let us make a(n) {build}!" said {friend}.',
        "{hero} and {friend} wanted to make the [biggest|finest|best] {build} of all.",
    )
    t.tell(
        "They rolled the snow into [big balls|great heaps]. It was [heavy|cold work], but it was fun.",
        "They pushed and rolled and patted the snow [until their fingers were cold|until their cheeks were red].",
    )
    t.tell(
        "Then they looked for {detail}. {grown} [helped them|found just the right thing].",
        "Last of all, it got {detail}. It looked [wonderful|so funny|almost alive].",
    )
    t.part()
    t.tell(
        'But when the wind blew, {hero} said, "It looks cold." So {he} took off {his} {clothes} and [gave it to the {build}|put it on the {build}].',
        "In the evening, {hero} looked out of the window. The {build} stood alone in the dark. So {he} went out and gave it {his} {clothes}.",
    )
    t.tell(
        '"Now it is warm," {he} said. {friend} laughed, and {grown} made hot [cocoa|milk with honey|apple juice].',
        "For a moment, it seemed to {hero} that the {build} smiled.",
        '{grown} shook {grown_his} head and laughed. "You have a warm heart," {grown_he} said.',
    )
    t.tell(
        'A week later, the sun came out, and the {build} [melted|became smaller and smaller]. Only the {clothes} lay on the grass. "[See you next winter|Goodbye until next year]," said {hero}.',
        "The {build} stood there for many days, and all who passed by [waved to it|smiled].",
        "",
    )
    _end(t, "It was the best snow day ever.", "{hero} was {happy}, and {his} nose was red.", together=True)


def building(t: Teller) -> None:
    """Something is built, breaks, and is built better with a friend."""
    build, material, failure = t.pick(words.BUILDS)
    t.let(build=build, material=material, failure=failure)
    _mention_friend(t)
    _one_day(
        t,
        "{one_day}, {hero} wanted to build a(n) {build} all by {himself}.",
        "{one_day}, {hero} had a plan. {He} wanted to build a(n) {build}.",
        '"Today I will build a(n) {build}," {hero} said one morning.',
    )
    t.tell(
        "{He} collected {material} and started to work.",
        "{He} got {material} and [whistled while {he} worked|worked without a break].",
    )
    t.tell(
        '"Can I help you?" asked {friend}. "No, I can do it alone," said {hero}.',
        '{friend} came by. "Two can do more than one," {friend_he} said. But {hero} shook {his} head.',
    )
    t.part()
    t.tell(
        "But then it happened. {failure}!",
        "{hero} stepped back to look at it. {failure}. All the work was for nothing.",
    )
    t.tell(
        "{hero} sat down on the ground. {He} was {sad}.",
        '"Now it is broken," {he} said. {He} felt {sad}.',
        "{He} kicked a stone and [frowned|wanted to give up].",
    )
    t.part()
    t.tell(
        '{friend} did not laugh. {Friend_he} sat down beside {hero} and said, "I have an idea."',
        '"I am sorry that I did not want your help," said {hero}. "Will you help me now?" "Of course!" said {friend}.',
    )
    t.tell(
        "{friend} held the pieces, and {hero} [tied|fixed|joined] them. {neighbor} {neighbor_kind} lent them [a hammer|some string|{neighbor_his} tools].",
        "They began again from the start. One of them [measured|held|carried], and the other one [built|tied|pushed].",
    )
    t.tell(
        "When the sun went down, the {build} was ready. It was [strong|perfect|much better than before].",
        "This time it worked! The {build} was [the best in the whole village|strong and beautiful].",
    )
    t.tell(
        '"We did it!" they shouted.',
        "They called everyone to come and see it.",
        '"Our {build}," said {hero}, and {friend} smiled.',
    )
    _end(
        t,
        "{hero} learned that two can do more than one.",
        "Some things are better when you make them together.",
        together=True,
    )


def greedy(t: Teller) -> None:
    """Too much of a good thing."""
    t.let(sweets=t.pick(words.BERRIES), wise=t.pick(words.WISE_ANIMALS))
    _mention_friend(t)
    _one_day(
        t,
        "{one_day}, {hero} found a big basket of {sweets} {at_place}.",
        '{one_day}, {neighbor} {neighbor_kind} gave {hero} a large bowl of {sweets}. "They are for you and your friends," {neighbor_he} said.',
        "{one_day}, {hero} and {friend} went out to get {sweets}.",
    )
    t.tell(
        "They [smelled so sweet|looked so good|were {hero}'s favorite food].",
        '"I will only try one," {he} said.',
        "{hero}'s mouth watered.",
    )
    t.part()
    t.tell(
        "{He} ate one. Then {he} ate another one. {He} ate and ate and could not stop.",
        '"Save some for me," said {friend}. But {hero} [did not listen|turned away|kept on eating].',
        "One, two, three, ten! {He} ate them all and did not leave a single one for {friend}.",
    )
    t.tell(
        '"Do not eat so many," said {wise}. But {hero} only laughed.',
        "{friend} watched and said nothing. {Friend_he} looked {sad}.",
        "Soon the {sweets} were gone.",
    )
    t.part()
    t.tell(
        'Then {his} tummy began to hurt. "Ow, ow, ow!" {he} [cried|groaned].',
        "But after a while, {hero} felt [sick|terrible|very bad]. {He} had to lie down.",
    )
    t.tell(
        "{friend} could have laughed. But {friend_he} brought {hero} [a cup of tea|a glass of water|a warm blanket] and stayed with {him}.",
        "{grown} put {him} to bed and gave {him} [mint tea|a warm stone for {his} tummy]. {friend} sat beside the bed.",
    )
    t.tell(
        '"I am sorry," said {hero}. "I should have shared with you." "It is all right," said {friend} {kindly}.',
        '"Next time, I will [share|stop after three|give you the first one]," {hero} promised.',
    )
    t.tell(
        "The next week, {hero} found {sweets} again. This time, {he} gave {friend} the first and the biggest.",
        "A few days later, {hero} brought {friend} a whole bag of {sweets} and did not eat a single one.",
        "",
    )
    _end(
        t,
        "{hero} learned that enough is as good as a feast.",
        "Too much of a good thing is not good any more.",
        together=True,
    )


def lost_way(t: Teller) -> None:
    """Lost, and led home."""
    first, second = t.pick_two(words.LANDMARKS)
    t.let(wise=t.pick(words.WISE_ANIMALS), first=first, second=second, flowers=t.pick(words.FLOWERS))
    t.tell(
        "{one_day}, {hero} went out to pick {flowers} for {grown}.",
        "{one_day}, {hero} followed a [blue butterfly|yellow butterfly|funny beetle] deep into the woods.",
        "{one_day}, {hero} wanted to see what was behind {first}.",
    )
    t.tell(
        '"Do not go too far," {grown} had said. But {hero} [forgot|did not think of it].',
        "{He} walked and walked and did not look at the way.",
        "It was so pretty there that {he} did not notice how late it was.",
    )
    t.part()
    t.tell(
        "When {he} turned around, every tree looked the same. {He} was lost!",
        "Suddenly it was getting dark, and {he} did not know the way home.",
    )
    t.tell(
        '"Where am I?" {he} [cried|whispered]. {He} was {sad}.',
        "{He} sat down on a stone. A tear rolled down {his} cheek.",
        '"Hello? Is anybody there?" {he} called. But only the wind answered.',
    )
    t.tell(
        "Then {he} remembered what {grown} had taught {him}: stay calm and think.",
        "{He} took a deep breath and looked around.",
        "",
    )
    t.part()
    t.tell(
        'Just then, {wise} came along. "[Why do you cry|Are you lost|What are you doing here so late]?" it asked.',
        'Then {he} saw {wise}. "Please, do you know the way?" {hero} asked politely.',
    )
    t.tell(
        '"Go to {first}, and then on to {second}. From there you can see your home," it said.',
        '"Follow me," it said. They went past {first} and past {second}.',
        '"Listen to the stream and walk beside it until you come to {second}," it said.',
    )
    t.tell(
        "{hero} did just that. And there was the light in the window!",
        "Soon {hero} smelled smoke from the chimney and heard {grown} call {his} name.",
    )
    t.tell(
        '"There you are!" cried {grown} and hugged {him} tightly.',
        "{grown} was so {glad} that {grown_he} forgot to be angry.",
        "{He} ran into {grown}'s arms and told {grown_him} everything.",
    )
    _end(
        t,
        "The next day, {hero} brought the kind animal [some bread|a handful of nuts|a thank-you song].",
        "After that, {hero} always told someone where {he} was going.",
        "{hero} learned to look at the way {he} goes.",
    )


def performance(t: Teller) -> None:
    """Too shy to perform, until someone is there to look at."""
    act, piece, did = t.pick(words.PERFORMANCES)
    t.let(act=act, piece=piece, did=did)
    _mention_friend(t)
    t.tell(
        "When {he} was alone, {hero} liked to {act}. But {he} had never done it in front of others.",
        "{one_day}, there was going to be a big show {at_place}. {hero} was asked to {act}.",
        "Nobody knew that {hero} could {act} so well, because {he} was too shy.",
    )
    t.tell(
        '{friend} [heard it through the window|listened behind the door]. "You are so good! Everyone should hear it," {friend_he} said.',
        '"You must do it in the show," said {friend}.',
    )
    t.part()
    t.tell(
        "On the evening of the show, the room was full. {hero} looked out from behind the curtain, and {his} [legs began to shake|heart beat fast|mouth went dry].",
        "The big day came. There were so many faces! {hero} wanted to [run away|hide|go home].",
    )
    t.tell(
        '"What if I make a mistake?" {he} whispered.',
        '"What if they laugh at me?" {he} asked.',
        '"I have forgotten everything!" {he} said.',
    )
    t.tell(
        '{friend} took {his} hand. "[Just look at me|Do it only for me|Pretend that we are at home]," {friend_he} said.',
        '{grown} said, "If you make a mistake, just [smile and go on|keep going|take a breath]. I am proud of you already."',
    )
    t.part()
    t.tell(
        "{hero} stepped out and looked for {friend} in the first row. Then {he} {did}. At first it was quiet, but then it became stronger and stronger.",
        "{hero} closed {his} eyes and {did}. At first {his} voice and hands shook a little, and then the {piece} filled the whole room.",
    )
    t.tell(
        "In the middle, {he} made a small mistake. But {he} smiled and went on, and nobody minded.",
        "Everyone listened. Even the babies were quiet.",
    )
    t.tell(
        "When the {piece} was over, it was silent for a moment. Then they all stood up and clapped!",
        "At the end, everyone [clapped and cheered|called for more|threw flowers].",
    )
    t.tell(
        '"I knew that you could do it," said {friend}.',
        "{hero} bowed, and {his} face was [red|shining] with joy.",
        '"Can I do it again?" asked {hero}, and everyone laughed.',
    )
    _end(
        t,
        "{hero} was not shy about {his} {piece} any more.",
        "{hero} learned that it helps to have a friend in the first row.",
        together=True,
    )


def helping_out(t: Teller) -> None:
    """A dull chore turns into a game and gives something back."""
    one, other = t.pick_two(words.CHORES)
    t.let(
        chore=one[0],
        tool=one[1],
        other=other[0],
        clothes=f"{t.pick(words.COLORS)} {t.pick(words.CLOTHES)}",
        spot=t.pick(words.INDOOR_SPOTS),
        game=t.pick(words.GAMES),
    )
    t.tell(
        "{one_day}, {hero} wanted to go out and play {game}. But {grown} had a lot of work to do.",
        "{one_day}, {grown} came home and was very tired. There was still so much to do.",
        '"Before you go out to play, please {chore}," said {grown} one day.',
    )
    t.tell(
        '{hero} sighed. "[That is boring|That takes so long|I do not like to {chore}]," {he} said.',
        '{hero} saw {grown_his} tired eyes. "[I can help|Let me do it|Sit down, I will do it]," {he} said.',
    )
    t.part()
    t.tell(
        "Then {he} had an idea. {He} pretended that {he} was [a captain|a queen's helper|a giant|a busy bee|a robot] and that {tool} was [a ship|made of gold|a magic tool|a great machine].",
        '{friend} came to the door. "If we do it together, it will be a game," said {friend}.',
        "{hero} began to sing, and with a song, the work went faster.",
    )
    t.tell(
        "First {he} had to {chore}, and then {he} had to {other}.",
        "{He} learned how to {chore}. It was not so hard after all. Then it was time to {other}.",
    )
    t.tell(
        "And what did {he} find {spot}? The {clothes} that {he} had lost long ago!",
        "While {he} worked, {he} looked {spot}. There lay {grown}'s {clothes}, which had been missing for weeks.",
        "Before long, everything [was clean and bright|was done|shone like new].",
    )
    t.part()
    t.tell(
        '"I cannot believe my eyes!" said {grown}. "You have done it all!"',
        "When {grown} woke up from {grown_his} nap, all the work was done. {Grown_he} was so {glad}.",
        '{grown} hugged {him}. "You are my best helper," {grown_he} said.',
    )
    t.tell(
        "Then there was time left over, and they all played {game} together.",
        "As a thank-you, they had [pancakes|warm bread with jam|a cup of cocoa|ice cream] in the kitchen.",
        "In the evening, they all went to {place}.",
    )
    _end(
        t,
        "{hero} learned that work is lighter when many hands do it.",
        "{hero} was {happy}, because it felt good to help.",
    )


def letter(t: Teller) -> None:
    """A friend moves away, and letters go back and forth."""
    news, other_news = t.pick_two(words.LETTER_NEWS)
    t.let(news=news, other_news=other_news, toy=f"{t.pick(words.QUALITIES)} {t.pick(words.TOYS)}")
    _mention_friend(t)
    t.tell(
        "{hero} and {friend} did everything together. But one day, {friend} had to move far away.",
        '{one_day}, {friend} said, "We are moving to another [town|village|valley]." {hero} could not believe it.',
    )
    t.tell(
        "{hero} gave {friend} {his} {toy} so that {friend_he} would not forget {him}.",
        "They hugged for a long time and [cried a little|did not know what to say].",
        "{hero} waved until {friend} was only a small dot on the road.",
    )
    t.part()
    t.tell(
        "After that, {hero} was lonely. It was so quiet {at_place} without {friend}.",
        "The days were long. {hero} did not even want to go to {place}.",
    )
    t.tell(
        '"Why don\'t you write a letter?" asked {grown}. So {hero} wrote a letter and put {news} into it.',
        "Then {he} sat down and wrote a letter. {He} wrote about {place} and added {news}.",
    )
    t.tell(
        "Every morning, {he} waited at the [gate|door|window] for the mail. One day, two days, three days passed.",
        '"Is there something for me?" {he} asked each day. "Not yet," was the answer.',
    )
    t.part()
    t.tell(
        "Then at last, there was a letter! It had {hero}'s name on it. Inside was {other_news}.",
        "And on Friday, a letter came. {hero} opened it with shaking hands. There was {other_news} inside.",
    )
    t.tell(
        '"I miss you," {friend} wrote. "But I have [a new room|a big garden|a little dog|a kind teacher]. Come and see me in the summer!"',
        '"Dear {hero}," {friend} wrote, "I think of you every day. Soon I will come to visit you."',
    )
    t.tell(
        "{hero} read the letter [three|five|ten] times and put it under {his} pillow.",
        "{hero} was so {happy} that {he} [began to write back at once|danced through the house].",
    )
    t.tell(
        "A friend who is far away is still a friend.",
        "And so the letters went back and forth, all year long.",
        "In the summer, they met again, and it was as if no time had passed.",
    )


def training_pet(t: Teller) -> None:
    """An animal learns a trick, with patience rather than shouting."""
    t.let(
        trick=t.pick(words.PET_TRICKS),
        baby=t.pick(("puppy", "pony", "parrot", "goat", "big dog", "kitten")),
        pet=t.pick(("Biscuit", "Fluffy", "Coco", "Spot", "Nugget", "Snowy", "Pickle", "Domino")),
        snack=t.pick(("carrot", "cracker", "piece of apple", "nut", "bit of cheese")),
    )
    t.tell(
        "{hero} had a(n) {baby} called {pet}. {pet} was [funny and wild|sweet but lazy|full of tricks].",
        "{one_day}, {grown} brought home a(n) {baby}. {hero} called it {pet}.",
    )
    t.tell(
        "{hero} wanted to teach {pet} to {trick}.",
        '"I will teach you to {trick}," said {hero} to {pet}.',
    )
    t.part()
    t.tell(
        "But {pet} [only ran in circles|looked the other way|lay down and slept|chewed on {his} shoe].",
        '"Come on!" said {hero}. But {pet} did not [understand|listen].',
    )
    t.tell(
        "{hero} [shouted|became angry]. Then {pet} was afraid and hid.",
        "{hero} said it louder and louder. {pet} put its head down and crept away.",
    )
    t.tell(
        '"It will never work," said {hero}. {He} was {sad}.',
        "{hero} felt {sad} and sorry. {He} had not wanted to frighten {pet}.",
    )
    t.part()
    t.tell(
        '{friend} said, "You must be patient. Show it slowly, and [give a little treat|be kind|say something nice]."',
        '{neighbor} {neighbor_kind} had seen it. "An animal learns from a friend, not from a shout," {neighbor_he} said {kindly}.',
    )
    t.tell(
        "So {hero} took a(n) {snack} and spoke softly. {pet} came a little closer.",
        "So {hero} sat down on the grass with a(n) {snack} and waited. After a while, {pet} came out.",
    )
    t.tell(
        "They practiced a little every day. And after [a week|two weeks|ten days], {pet} could {trick}!",
        "{He} showed it again and again, without a loud word. And then, all at once, {pet} knew how to {trick}.",
    )
    t.tell(
        '"Good job, {pet}!" cried {hero}. {pet} got a(n) {snack} and a big hug.',
        "{hero} laughed, and {pet} looked very proud.",
        "They showed it to {friend} and {grown}, and everyone clapped.",
    )
    _end(
        t,
        "{hero} learned that a soft voice works better than a loud one.",
        "From then on, {hero} and {pet} went everywhere together.",
    )


PLOTS: tuple[Plot, ...] = (
    lost_thing, sharing, rainy_day, baking, new_friend, facing_fear, learning_skill, rescue, garden, stuck, honesty, race,
    gift, night, treasure, magic, errand, snow_day, building, greedy, lost_way, performance, helping_out, letter, training_pet,
)  # fmt: skip
"""Every plot; the corpus takes them in turn."""
