"""Sentences an embedder is tried on, the same eight things in each language.

Of each: a sentence, another that says the same in other words, and one that has more of the first one's words but says
something else. Who reads the language puts the second one nearest; who compares letters puts the third one there.
"""

from __future__ import annotations

from typing import NamedTuple


class Trial(NamedTuple):
    """One thing said twice, and a trap."""

    said: str
    meant: str
    trap: str


TRIALS: dict[str, tuple[Trial, ...]] = {
    "en": (
        Trial("How do I get my money back?", "Refunds are paid within two weeks.", "I get money at the back door."),
        Trial("The screen stays black.", "The display shows no picture.", "The black cat stays on the screen."),
        Trial("When does the shop open?", "Business hours begin at nine.", "The shop sells open boxes."),
        Trial("My child has a fever.", "The little girl's temperature is high.", "My child has a bicycle."),
        Trial("The train was late.", "The railway service was delayed.", "The train was green."),
        Trial("He lost his job.", "The company dismissed him.", "He lost his key."),
        Trial("It rained all day.", "Wet weather lasted until the evening.", "The shop was open all day."),
        Trial("How can I learn to cook?", "A course in the kitchen for beginners.", "How can I learn to swim?"),
    ),
    "de": (
        Trial("Wie bekomme ich mein Geld zurück?", "Erstattungen dauern zwei Wochen.", "Ich komme mit Geld zurück."),
        Trial("Der Bildschirm bleibt schwarz.", "Die Anzeige ist dunkel.", "Die schwarze Katze bleibt zu Hause."),
        Trial("Wann öffnet der Laden?", "Die Geschäftszeiten beginnen um neun.", "Der Laden verkauft Öffner."),
        Trial("Mein Kind hat Fieber.", "Die Temperatur der Kleinen ist zu hoch.", "Mein Kind hat ein Fahrrad."),
        Trial("Der Zug war zu spät.", "Die Bahn hatte Verspätung.", "Der Zug war zu grün."),
        Trial("Er hat seine Arbeit verloren.", "Die Firma hat ihm gekündigt.", "Er hat seinen Schlüssel verloren."),
        Trial("Es regnete den ganzen Tag.", "Bis zum Abend blieb das Wetter nass.", "Er schlief den ganzen Tag."),
        Trial("Wie lerne ich kochen?", "Ein Kurs in der Küche für Anfänger.", "Wie lerne ich schwimmen?"),
    ),
    "fr": (
        Trial("Comment récupérer mon argent ?", "Le remboursement prend deux semaines.", "Mon couteau est en argent."),
        Trial("L'écran reste noir.", "L'affichage ne montre aucune image.", "Le chat noir reste ici."),
        Trial("Quand ouvre le magasin ?", "Les heures d'affaires commencent à neuf heures.", "Le magasin est grand."),
        Trial("Mon enfant a de la fièvre.", "La température de la petite est élevée.", "Mon enfant a un vélo."),
        Trial("Le train était en retard.", "Le service ferroviaire a été retardé.", "Le train était en bois."),
        Trial("Il a perdu son emploi.", "L'entreprise l'a licencié.", "Il a perdu son stylo."),
        Trial("Il a plu toute la journée.", "Le temps est resté humide jusqu'au soir.", "Il dort toute la journée."),
        Trial(
            "Comment apprendre à cuisiner ?", "Un cours de gastronomie pour débutants.", "Comment apprendre à lire ?"
        ),
    ),
    "es": (
        Trial("¿Cómo recupero mi dinero?", "El reembolso tarda dos semanas.", "¿Cómo cuento mi dinero?"),
        Trial("La pantalla se queda negra.", "El monitor no muestra imagen.", "La gata negra se queda en casa."),
        Trial("¿Cuándo abre la tienda?", "El horario comercial empieza a las nueve.", "La tienda vende abrelatas."),
        Trial("Mi hijo tiene fiebre.", "La temperatura del pequeño es alta.", "Mi hijo tiene bicicleta."),
        Trial("El tren llegó tarde.", "El servicio ferroviario sufrió un retraso.", "El tren era verde."),
        Trial("Perdió su trabajo.", "La empresa lo despidió.", "Perdió su llave."),
        Trial("Llovió todo el día.", "El tiempo húmedo duró hasta la noche.", "Durmió todo el día."),
        Trial("¿Cómo aprendo a cocinar?", "Un curso de gastronomía para principiantes.", "¿Cómo aprendo a nadar?"),
    ),
    "pt": (
        Trial("Como recupero o meu dinheiro?", "O reembolso demora duas semanas.", "Como conto o meu dinheiro?"),
        Trial("A tela fica preta.", "O monitor não mostra imagem.", "A gata preta fica em casa."),
        Trial("Quando abre a loja?", "O horário comercial começa às nove.", "A loja vende abridores."),
        Trial("O meu filho tem febre.", "A temperatura do pequeno está alta.", "O meu filho tem bicicleta."),
        Trial("O trem chegou tarde.", "O serviço ferroviário sofreu atraso.", "O trem era verde."),
        Trial("Ele perdeu o emprego.", "A empresa demitiu o homem.", "Ele perdeu a chave."),
        Trial("Choveu o dia todo.", "O tempo úmido durou até a noite.", "Dormiu o dia todo."),
        Trial("Como aprendo a cozinhar?", "Um curso de gastronomia para iniciantes.", "Como aprendo a nadar?"),
    ),
    "ru": (
        Trial("Как вернуть мои деньги?", "Возмещение занимает две недели.", "Как считать мои деньги?"),
        Trial("Экран остаётся чёрным.", "Монитор ничего не показывает.", "Чёрный кот остаётся дома."),
        Trial("Когда открывается магазин?", "Рабочие часы начинаются в девять.", "Магазин продаёт открывалки."),
        Trial("У моего ребёнка жар.", "Температура у малыша слишком высокая.", "У моего ребёнка велосипед."),
        Trial("Поезд опоздал.", "Железнодорожный рейс задержали.", "Поезд зелёный."),
        Trial("Он потерял работу.", "Компания его уволила.", "Он потерял ключ."),
        Trial("Весь день шёл дождь.", "Сырая погода держалась до вечера.", "Весь день шёл человек."),
        Trial("Как научиться готовить?", "Кулинарный курс для начинающих.", "Как научиться плавать?"),
    ),
    "ar": (
        Trial("كيف أسترد أموالي؟", "يستغرق رد المبلغ أسبوعين.", "كيف أعد أموالي؟"),
        Trial("تبقى الشاشة سوداء.", "لا يعرض العرض أي صورة.", "تبقى القطة سوداء."),
        Trial("متى يفتح المتجر؟", "تبدأ ساعات العمل في التاسعة.", "يبيع المتجر المفاتيح."),
        Trial("طفلي يعاني من الحمى.", "درجة حرارة الصغير مرتفعة.", "طفلي يعاني من الملل."),
        Trial("تأخر القطار.", "وصلت رحلة السكة الحديدية بعد موعدها.", "القطار أخضر."),
        Trial("فقد وظيفته.", "فصلته الشركة.", "فقد مفتاحه."),
        Trial("أمطرت طوال اليوم.", "استمر الطقس الرطب حتى المساء.", "نام طوال اليوم."),
        Trial("كيف أتعلم الطبخ؟", "دورة للمبتدئين في إعداد الطعام.", "كيف أتعلم السباحة؟"),
    ),
    "hi": (
        Trial("मुझे अपना पैसा वापस कैसे मिलेगा?", "धनवापसी में दो सप्ताह लगते हैं।", "मुझे अपना घर कैसे मिलेगा?"),
        Trial("स्क्रीन काली रहती है।", "डिस्प्ले पर कोई तस्वीर नहीं आती।", "काली बिल्ली घर पर रहती है।"),
        Trial("दुकान कब खुलती है?", "कारोबार सुबह नौ बजे शुरू होता है।", "दुकान बहुत बड़ी है।"),
        Trial("मेरे बच्चे को बुखार है।", "छोटी लड़की का तापमान ज़्यादा है।", "मेरे बच्चे के पास साइकिल है।"),
        Trial("ट्रेन देर से आई।", "रेल सेवा में विलंब हुआ।", "ट्रेन हरे रंग की थी।"),
        Trial("उसकी नौकरी चली गई।", "कंपनी ने उसे निकाल दिया।", "उसकी चाबी खो गई।"),
        Trial("पूरे दिन बारिश हुई।", "शाम तक मौसम गीला रहा।", "वह पूरे दिन सोया।"),
        Trial("मैं खाना बनाना कैसे सीखूँ?", "शुरुआती लोगों के लिए रसोई का पाठ्यक्रम।", "मैं तैरना कैसे सीखूँ?"),
    ),
    "ko": (
        Trial("돈을 어떻게 돌려받나요?", "환불은 두 주 안에 처리됩니다.", "돈을 어떻게 세나요?"),
        Trial("화면이 계속 검게 나와요.", "디스플레이에 아무것도 표시되지 않습니다.", "검은 고양이가 계속 나와요."),
        Trial("가게는 언제 여나요?", "영업 시간은 아침 아홉 시부터입니다.", "가게는 어디에 있나요?"),
        Trial("우리 아이가 열이 나요.", "꼬마의 체온이 높습니다.", "우리 아이가 자전거를 타요."),
        Trial("기차가 늦었다.", "철도 운행이 지연되었습니다.", "기차가 초록색이다."),
        Trial("그는 일자리를 잃었다.", "회사가 그 직원을 해고했다.", "그는 열쇠를 잃었다."),
        Trial("하루 종일 비가 왔다.", "저녁까지 궂은 날씨가 이어졌다.", "하루 종일 잠을 잤다."),
        Trial("요리를 어떻게 배우나요?", "초보자를 위한 음식 만들기 강좌.", "수영을 어떻게 배우나요?"),
    ),
    "ja": (
        Trial("お金を返してもらうには?", "払い戻しは二週間以内に行われます。", "お金を数えるには?"),
        Trial("画面が黒いままです。", "ディスプレイに何も映りません。", "黒い猫がいるままです。"),
        Trial("店はいつ開きますか?", "営業時間は朝九時からです。", "店はどこにありますか?"),
        Trial("うちの子は熱があります。", "幼い娘の体温が高いです。", "うちの子は自転車があります。"),
        Trial("電車が遅れた。", "鉄道の運行に遅延が生じました。", "電車が緑だった。"),
        Trial("彼は仕事を失った。", "会社は男性社員を解雇した。", "彼は鍵を失った。"),
        Trial("一日中雨が降った。", "夕方までぐずついた天気が続いた。", "一日中寝ていた。"),
        Trial("料理を習うには?", "初心者向けのクッキング教室。", "水泳を習うには?"),
    ),
    "zh": (
        Trial("怎样拿回我的钱?", "退款将在两周内到账。", "怎样数我的钱?"),
        Trial("屏幕一直是黑的。", "显示器没有图像。", "黑猫一直在这里。"),
        Trial("商店什么时候开门?", "营业时间从早上九点开始。", "商店的门是什么颜色?"),
        Trial("我的孩子发烧了。", "小女儿体温很高。", "我的孩子有自行车。"),
        Trial("火车晚点了。", "铁路班次延误。", "火车是绿色的。"),
        Trial("他失去了工作。", "公司把那名员工解雇了。", "他失去了钥匙。"),
        Trial("下了一整天雨。", "潮湿的天气持续到傍晚。", "睡了一整天觉。"),
        Trial("怎样学会做饭?", "面向初学者的烹饪课程。", "怎样学会游泳?"),
    ),
}
