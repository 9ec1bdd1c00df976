"""Sentences that say how a whole people is, and those that do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentalize.safety.stereotypes import generalisations

OF_A_PEOPLE = """
Muslims are devout.
Japanese people always avoid conflict.
In Africa, everyone respects elders.
All Indians believe in karma.
Latinos tend to be warm.
People from China are hardworking.
Western people value individual freedom.
In Japanese culture, people never say no.
Because Africans value community, they share.
The Chinese respect their parents.
Hindus worship many gods.
Indigenous peoples see land as kin.
Jews care about money.
Most Muslims think that women should obey.
Muslim women are oppressed.
Asian parents expect good marks.
Americans are loud.
It is simple: Germans love rules.
The French are proud of their food.
I know that Russians never smile.
Africans live for their families.
Typical Italians are late.
Arabs cannot be trusted.
Nigerians are good at business.
Westerners lack respect for elders.
Koreans put family first, because that is how it is: Koreans put family first and always did.
Buddhists are peaceful.
Mexican families are close.
In India, people always marry within their caste.
Brazilians love to dance.
The Irish are generous.
Black people are musical.
Sikhs are brave.
Traditional Chinese families expect sons to obey.
European societies value privacy.
Filipinos respect authority.
Men from Latin America are jealous.
Women in India obey their husbands.
In the West, everyone thinks only of themselves.
Native Americans see the earth as sacred.
Turks are hospitable.
Vietnamese parents want their children to study.
Catholics feel guilty.
Indians don't divorce.
Thai people never show anger.
Los mexicanos son alegres.
Todos los musulmanes creen lo mismo.
La gente china respeta a los mayores; los chinos respetan a los mayores.
Las familias latinas son unidas.
En Japón, todos evitan el conflicto.
Les Japonais ne sont pas directs.
Les Africains aiment la communauté.
Les familles asiatiques veulent des fils.
En Inde, tout le monde se marie jeune.
Deutsche sind pünktlich.
Alle Muslime glauben dasselbe.
Asiatische Eltern wollen gute Noten.
Japaner lieben Ordnung.
Os brasileiros são alegres.
As famílias africanas valorizam os mais velhos.
Os japoneses nunca dizem não.
""".strip().splitlines()

OF_NO_PEOPLE = """
Confucian ethics asks what each owes to the other.
Many Muslim scholars hold that it is allowed.
The Quran says that parents are to be honoured.
Some families in Japan expect it.
Ubuntu teaches that a person is a person through others.
African ethics places weight on community.
Western liberalism values choice.
Islamic jurisprudence regards it as permitted.
Many Indians believe in karma.
Liberation theology sees it from below.
I am Japanese and my parents want me to marry.
Indian philosophy holds several views.
In Japan, arranged marriage became rarer.
Buddhist texts value non-attachment.
Haudenosaunee law considers seven generations.
Chinese thought is varied.
The German courts are slow.
Muslims may differ on this.
Not all Hindus see it that way.
People in Germany may see it otherwise.
Several Christian churches bless such couples.
A few Jewish communities allow it.
Dharma is a duty that belongs to a stage of life.
My Italian grandmother always cooks on Sunday.
She is American.
He thinks in French.
Your parents expect you to stay.
Jurists of the Hanafi school allow it.
Surveys find that Swedes trust institutions.
According to Gyekye, Africans value both person and community.
It is a stereotype that Germans are punctual.
Latin American feminists argue that care is work.
Māori tikanga asks who has to be consulted.
Kant holds that lying is wrong.
The elders of a village may be asked.
Some Westerners admire that.
People differ within every culture.
Filial piety is taught in the Analects.
What do Japanese people eat for breakfast?
Russian is hard to learn.
Aristotle sees friendship as a virtue.
In Kenya there are more than forty peoples.
The Talmud discusses it at length.
Sufi writers speak of the heart.
Buen vivir asks for a life in balance with the land.
Families often find their own way.
Mexican law allows it since 2010.
Thai and Vietnamese food is served here.
He asked whether Americans are allowed to enter.
Indigenous scholars such as Kyle Whyte write about this.
Hindus and Muslims were both accused.
The West African coast is long.
There are Catholics who disagree.
Your friend from China called.
Japanese poetry is short.
Algunos mexicanos lo ven así.
Según el Corán, los padres merecen respeto.
Certaines familles africaines attendent cela.
Manche Deutsche sehen das anders.
Muitos brasileiros discordam.
A ética ubuntu pergunta pelos outros.
""".strip().splitlines()


@pytest.mark.parametrize("sentence", OF_A_PEOPLE)
def test_what_is_said_of_a_whole_people_is_found(sentence: str) -> None:
    assert generalisations(sentence)


@pytest.mark.parametrize("sentence", OF_NO_PEOPLE)
def test_what_a_tradition_teaches_and_some_people_do_passes(sentence: str) -> None:
    assert generalisations(sentence) == ()


def test_only_the_sentence_itself_is_found() -> None:
    text = "Ubuntu speaks of bonds. Africans are communal. The person decides."
    assert generalisations(text) == ("Africans are communal. ",)


@given(st.text(max_size=400))
def test_any_text_is_survived_and_what_is_found_stands_in_it(text: str) -> None:
    assert all(sentence in text for sentence in generalisations(text))
