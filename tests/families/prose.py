"""What the tiny tokenizers are trained on: a few hundred words in several scripts, and some code.

Enough for merges, continuations and unigram pieces to exist in every family; little enough that
most of the torture strings meet pieces that a vocabulary does not hold.
"""

ENGLISH = """
The lighthouse keeper counted the ships before breakfast, as he had counted them for thirty years.
"There are fewer," he said, "but they are larger, and they do not answer when I wave." His daughter
wasn't listening: she was reading the newspaper, which had come with the morning boat and smelt of
fish. Nobody had written anything about the island, or about the storm that had taken the roof of
the chapel; the front page was about prices, and the last page was about the weather on the
mainland. She folded it, unfolded it again, and began to draw a map of the harbour in the margin.

When the rain stopped they walked down to the water together. The keeper carried a bucket, two
ropes and a lantern that no longer worked; the daughter carried nothing but her map. They hadn't
walked for more than ten minutes when they met the schoolteacher, who was running. "Have you heard
it?" she asked. "The bell is ringing under the sea!" They listened, and after a while they heard
it too: slow, deep and regular, like something that is being counted.

In 1987 the harbour office had measured 3,412 waves an hour, 12.5 % more than in the year before.
Reading, writing, walking, singing, working and waiting: these were the occupations of the winter.
The unhappiness of the fishermen was unmistakable; their friendliness was unbelievable.
"""

GERMAN = """
Der Leuchtturmwärter zählte die Schiffe, bevor er frühstückte. Über dem Wasser lag ein grauer
Dunst, und die Straße zum Hafen war noch naß vom Regen der Nacht. „Es sind weniger geworden“,
sagte er, „aber sie sind größer.“ Die Tochter schüttelte den Kopf; sie hörte nicht zu. Früher
hatte es hier Ölmühlen, Bäckereien und eine Gießerei gegeben, jetzt gab es nur noch Möwen.
"""

FRENCH = """
Le gardien du phare comptait les bateaux avant le déjeuner. « Où sont-ils passés ? » demanda sa
fille, qui n'écoutait qu'à moitié. L'été avait été très court, et la forêt sentait déjà l'automne.
"""

GREEK = """
Ο φύλακας του φάρου μετρούσε τα πλοία πριν από το πρωινό. Η θάλασσα ήταν ήσυχη και ο ουρανός
γεμάτος σύννεφα. «Είναι λιγότερα», είπε, «αλλά είναι μεγαλύτερα».
"""

RUSSIAN = """
Смотритель маяка считал корабли ещё до завтрака. Море было спокойно, а небо закрыто облаками.
Дочь не слушала его: она читала газету и рисовала на полях карту гавани.
"""

ARABIC = """
كان حارس المنارة يعد السفن قبل الفطور. كان البحر هادئا والسماء مليئة بالغيوم. قالت ابنته إن
الجرس يدق تحت الماء، فسمعه الجميع بعد قليل.
"""

HEBREW = """
שומר המגדלור ספר את האוניות לפני ארוחת הבוקר. הים היה שקט והשמים היו מלאים עננים.
"""

CHINESE = """
灯塔的看守人在早饭之前数船。海很平静，天上有很多云。他的女儿没有听他说话，她在看报纸，
还在报纸的边上画了一张海港的地图。下雨以后，他们一起走到水边，听见海底的钟声。
"""

JAPANESE = """
灯台の番人は朝ごはんの前に船を数えました。海は静かで、空は雲でいっぱいでした。
むすめは新聞を読んでいて、港の地図をえがいていました。
"""

KOREAN = """
등대지기는 아침을 먹기 전에 배를 세었다. 바다는 조용했고 하늘에는 구름이 많았다.
"""

HINDI = """
प्रकाशस्तंभ का रखवाला नाश्ते से पहले जहाज़ गिनता था। समुद्र शांत था और आकाश में बादल थे।
"""

MODERN = """
so happy to be back at the sea 😀 😀 the waves are huge 🌊🌊🌊 see you tomorrow ❤️ 👍
def count(ships):
    total = 0
    for ship in ships:
        total += 1
    return total
The map is at https://example.org/harbour/map.html?year=1987 and the keeper at keeper@example.org.
"""

PROSE = [
    ENGLISH,
    GERMAN,
    FRENCH,
    GREEK,
    RUSSIAN,
    ARABIC,
    HEBREW,
    CHINESE,
    JAPANESE,
    KOREAN,
    HINDI,
    MODERN,
]
