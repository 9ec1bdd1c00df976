"""Words that carry grammar and no content, by language: they tell a text's language and are left out of its terms.

They stand as `terms.fold` makes them: lower case, without accents, without apostrophes ("don't" is "don" and "t").
"""

from __future__ import annotations

from collections.abc import Mapping

_WORDS: Mapping[str, str] = {
    "english": """
        a about above after again against ain all also am an and any are aren as at be because been before being
        below between both but by can cannot could couldn d did didn do does doesn doing don down during each few
        for from further had hadn has hasn have haven having he her here hers herself him himself his how i if in
        into is isn it its itself just ll m me mightn more most my myself needn no nor not now of off on once only
        or other our ours ourselves out over own re s same shan she should shouldn so some such t than that the
        their theirs them themselves then there these they this those through to too under until up us ve very was
        wasn we were weren what when where which while who whom why will with would wouldn you your yours yourself
        yourselves
    """,
    "spanish": """
        a al algo algunas algunos ante antes aquel aquella asi aun aunque cada como con contra cual cuales cuando
        cuanto de del desde donde dos durante e el ella ellas ellos en entre era eran eres es esa esas ese eso esos
        esta estaba estaban estado estamos estan estar estas este esto estos estoy fue fueron fui ha habia han has
        hasta hay he hemos la las le les lo los mas me mi mis mucho muy nada ni no nos nosotros nuestra nuestro o os
        otra otro para pero por porque que quien quienes se sea ser si sido sin sobre solo somos son soy su sus
        tambien tan te tengo ti tiene tienen toda todas todo todos tu tus un una unas uno unos usted y ya yo
    """,
    "french": """
        a ai ainsi alors apres as au aucun aussi autre aux avaient avais avait avant avec avez avoir avons c ce cela
        ces cet cette ceux chez comme d dans de depuis des du elle elles en encore entre es est et etaient etais
        etait etes etre eu eux fait il ils j je jusqu l la le les leur leurs lui m ma mais me meme mes moi mon n ne
        ni non nos notre nous on ont ou par parce pas pendant plus pour pourquoi qu quand que quel quelle quelles
        quels qui quoi s sa sans se ses si son sont suis sur t ta te tes toi ton tous tout toute toutes tres tu un
        une vos votre vous y
    """,
    "german": """
        aber als also am an auch auf aus bei bin bis bist da damit dann das dass dein deine dem den der des dich die
        dies diese dieser dieses dir doch dort du durch ein eine einem einen einer eines er es euch euer fur gegen
        hab habe haben habt hast hat hatte hatten ich ihm ihn ihnen ihr ihre im in ist ja jede jeder jetzt kann kein
        keine man mein meine meinem meinen meiner mich mir mit nach nicht nichts noch nun nur ob oder ohne schon
        sehr sein seine sich sie sind so um und uns unser unter vom von vor war waren warum was weil wenn wer wie
        wieder will wir wird wo wurde zu zum zur
    """,
    "portuguese": """
        a ao aos aquela aquele aquilo as ate com como da das de dela dele depois do dos e ela elas ele eles em entre
        era eram essa esse esta estava estavam este estou eu foi foram fui ha isso isto ja lhe mais mas me mesmo meu
        meus minha minhas muito na nao nas nem no nos nossa nosso num numa o os ou para pela pelas pelo pelos por
        porque qual quando que quem sao se seja sem ser seu seus so somos sua suas tambem te tem tenho ter teu tu
        tua um uma umas uns voce voces
    """,
    "italian": """
        a ad agli ai al alla alle allo anche avere aveva avevo c che chi ci come con cosa cui d da dagli dai dal
        dalla dalle dei del della delle dello di dove e ed era erano essere fra gli ha hai hanno ho i il in io l la
        le lei lo loro lui ma mi mia mie miei mio molto ne negli nei nel nella nelle noi non nostra nostro o per
        perche piu quale quando quella quelle quello questa queste questi questo qui sei si sia siamo siete sono sta
        stata stato sto su sua sue sugli sui sul sulla suo suoi te ti tra tu tua tue tuo tuoi tutti tutto un una uno
        vi voi
    """,
    "russian": """
        а без более бы был была были было быть в вам вас вот все всего всех вы где да даже для до его ее если есть
        еще же за и из или им их к как когда кто ли лишь меня мне мой моя мы на над нас не него нет ни них но ну о
        об он она они оно от очень по под при с сам себя со так там тебя тем то того тоже той только том ты у уже
        чем что чтобы эта эти это этого этой этот я
    """,
    "arabic": """
        اذا الا التي الذي الذين الي ام ان انا انت انه انها او اي ايضا اين بعد بل بين تلك تم ثم حتي حين ذلك سوف علي
        عن عند عندما غير فقط في فيه فيها قبل قد كان كانت كل كم كما كنت كيف لا لان لدي لقد لك لكن لم لماذا لن له لها
        لو لي ليس ما ماذا متي مع من منذ منه منها نحن هذا هذه هل هم هنا هناك هو هي و يا يكون
    """,
}

FUNCTION_WORDS: Mapping[str, frozenset[str]] = {
    language: frozenset(words.split()) for language, words in _WORDS.items()
}
"""By the name of the language's stemmer."""

PARTICLES = frozenset("的了吗呢吧啊呀嘛哦么什我你您他她它们这那嗎麼們這個を")
"""Characters of unspaced scripts that end a word as a space does elsewhere."""
