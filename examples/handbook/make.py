"""Writes the handbook's documents that are not plain text: a Word document, slides, and a PDF.

It needs `pip install matplotlib python-docx python-pptx`; what it makes is already here.
"""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from docx import Document
from matplotlib.backends.backend_pdf import PdfPages
from pptx import Presentation

HERE = Path(__file__).parent


def write_benefits() -> None:
    document = Document()
    document.core_properties.title = "복리후생"
    document.add_heading("복리후생", level=1)
    document.add_paragraph("마루 커피 로스터스의 구성원이 받는 혜택을 모았습니다. 궁금한 점은 인사팀에 문의하세요.")
    document.add_heading("건강", level=2)
    document.add_paragraph("매년 한 번 종합 건강검진을 지원합니다. 배우자도 2년에 한 번 같은 검진을 받을 수 있습니다.")
    document.add_paragraph("운동 비용은 한 달에 7만 원까지 지원하며, 영수증을 다음 달 10일까지 제출합니다.")
    document.add_heading("배움", level=2)
    document.add_paragraph("도서는 금액 제한 없이 신청할 수 있고, 외부 교육은 1년에 120만 원까지 지원합니다.")
    document.add_heading("원두", level=2)
    document.add_paragraph(
        "구성원은 매주 원두 200그램을 무료로 받습니다. 가족과 친구에게 줄 원두는 40퍼센트 할인합니다."
    )
    document.add_heading("장기 근속", level=2)
    for years, gift in (("3년", "휴가 5일"), ("5년", "휴가 10일과 100만 원"), ("10년", "안식월 한 달과 300만 원")):
        document.add_paragraph(f"{years} 근속 선물은 {gift}입니다.", style="List Bullet")
    document.save(HERE / "복리후생.docx")


def write_security() -> None:
    slides = Presentation()
    pages = (
        ("Keeping things safe", ("For everyone, once a year", "Questions: the security desk")),
        (
            "Passwords",
            (
                "Use the password manager for everything",
                "At least 16 characters where you must choose one yourself",
                "A second factor for mail, the till and the bank; never by text message",
            ),
        ),
        (
            "Lost or stolen",
            (
                "Report a lost laptop or phone within one hour, also at night",
                "The security desk erases it from afar",
                "Nobody is blamed for reporting",
            ),
        ),
        (
            "Visitors",
            ("Visitors sign in and wear a yellow badge", "Nobody is left alone in the roasting hall"),
        ),
    )
    for title, lines in pages:
        slide = slides.slides.add_slide(slides.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = "\n".join(lines)
    slides.slides[2].notes_slide.notes_text_frame.text = "The desk is reached at extension 4400, day and night."
    slides.save(HERE / "security.pptx")


def write_travel() -> None:
    pages = (
        (
            "Travelling for the company",
            "Book through the travel desk at least seven days ahead.",
            "Trains come first: we fly only where the train takes more than six hours.",
            "Second class is the rule; first class when you work on the train for more than four hours.",
            "Hotels: up to 140 euros a night, 190 euros in capitals.",
        ),
        (
            "While you are away",
            "The daily allowance is 28 euros for a full day and 14 euros for the days of arrival and departure.",
            "Your own car: 0.38 euros per kilometre, and only with the insurance form on file.",
            "A weekend spent at the place of work is given back as one day of leave.",
        ),
        (
            "Visits to growers",
            "Trips to origin last three weeks at most.",
            "Vaccinations are paid by the company and take place six weeks before you leave.",
            "The satellite phone is with the green coffee team; call in every 48 hours.",
        ),
    )
    with mpl.rc_context({"pdf.fonttype": 42}), PdfPages(HERE / "travel.pdf", metadata={"CreationDate": None}) as pdf:
        for title, *lines in pages:
            figure = plt.figure(figsize=(8.27, 11.69))
            figure.text(0.1, 0.9, title, fontsize=20)
            for number, line in enumerate(lines):
                figure.text(0.1, 0.84 - 0.03 * number, line, fontsize=10)
            pdf.savefig(figure)
            plt.close(figure)


if __name__ == "__main__":
    write_benefits()
    write_security()
    write_travel()
